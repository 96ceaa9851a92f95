"""The v2 protocol over HTTP (http.md): a codec without I/O, a fast lane for inference, an ASGI app for everything."""
