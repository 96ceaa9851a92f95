"""The wire: each protocol decodes requests, hands them to the server, and encodes the answers."""
