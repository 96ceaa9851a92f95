"""BentoML's own pages, and whatever a user adds, behind the gate."""

import asyncio
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from jubako.bundle.pages import PAGES, GatedPages, group_of
from jubako.protocols.access import AccessRules, Group, Key
from jubako.protocols.rest.gate import RuledGate

KNOWN = [*PAGES, "/infer", "/added", "/static_content/main.js", "/mounted/deep/path"]


def bentoml_like(prefix: str = "") -> Starlette:
    """Return an app that has the pages, and matches paths as BentoML's does: it is the same router."""

    async def page(_: Any) -> PlainTextResponse:
        return PlainTextResponse("secret")

    methods = ["GET", "POST", "PUT"]
    routes: list[Any] = [
        Route(prefix + path, page, methods=methods) for path in KNOWN if not path.startswith(("/static", "/mounted"))
    ]
    below = [Route("/{rest:path}", page, methods=methods)]
    routes += [Mount(prefix + folder, routes=below) for folder in ("/static_content", "/mounted")]
    return Starlette(routes=routes)


def ask(
    group: Group | None,
    target: str,
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    prefix: str = "",
    kind: str = "http",
    root_path: str = "",
) -> list[Any]:
    """Return what is sent in answer, where `group` is restricted (None: all are)."""
    rules = AccessRules({one: Key("k", b"v") for one in ([group] if group else Group)})
    app = GatedPages(bentoml_like(prefix), RuledGate(rules), prefix)
    scope = {
        "type": kind,
        "method": method,
        "path": root_path + unquote(target),
        "raw_path": target.encode(),
        "root_path": root_path,
        "query_string": b"",
        "headers": list(headers),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect" if kind == "websocket" else "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def spellings(path: str) -> list[str]:
    return [
        path,
        f"{path}/",
        f"{path}//",
        f"{path}%0a",
        f"{path}/%0a",
        f"{path}%0a%0a",
        f"{path}%0d",
        f"{path}%00",
        f"/{path}",
        f"/.{path}",
        path[:1] + "".join(f"%{ord(letter):02x}" for letter in path[1:]),
        path.upper(),
        f"{path};a=b",
    ]


@pytest.mark.parametrize("path", KNOWN)
@pytest.mark.parametrize("prefix", ["", "/pre/fix"])
def test_no_spelling_of_a_page_leads_around_its_key(path: str, prefix: str) -> None:
    group = group_of(path)

    for spelling in spellings(path):
        for method in ("GET", "POST", "HEAD"):
            sent = ask(group, prefix + spelling, method=method, prefix=prefix)
            assert b"secret" not in [message.get("body") for message in sent], (spelling, method)
    assert ask(group, prefix + path, prefix=prefix)[0]["status"] == 403
    assert ask(group, prefix + path, (b"k", b"v"), prefix=prefix)[1]["body"] == b"secret"


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/", Group.METADATA),
        ("/docs.json", Group.METADATA),
        ("/schema.json", Group.METADATA),
        ("/static_content/main.js", Group.METADATA),
        ("/livez", Group.HEALTH),
        ("/readyz", Group.HEALTH),
        ("/healthz", Group.HEALTH),
        ("/metrics", Group.STATISTICS),
        ("/infer", Group.INFERENCE),
        ("/whatever/a/user/adds", Group.INFERENCE),
    ],
)
def test_each_page_is_in_its_category_and_open_where_another_is_closed(path: str, group: Group) -> None:
    assert group_of(path) is group
    for other in Group:
        assert (ask(other, path)[0]["status"] == 403) == (other is group)


def test_a_root_path_does_not_hide_a_page() -> None:
    assert ask(Group.STATISTICS, "/metrics", root_path="/root")[0]["status"] == 403


@pytest.mark.parametrize("prefix", ["/schema", "/m", "/metrics"])
def test_a_prefix_is_cut_off_in_whole_segments(prefix: str) -> None:
    assert ask(Group.STATISTICS, "/metrics", prefix=prefix)[0]["status"] == 403
    assert ask(Group.METADATA, "/schema.json", prefix=prefix)[0]["status"] == 403  # BentoML has it at the root alone
    assert ask(Group.STATISTICS, f"{prefix}/metrics", prefix=prefix)[0]["status"] == 403


def test_a_websocket_needs_the_key_too() -> None:
    assert ask(None, "/mounted/socket", kind="websocket")[0]["type"] == "websocket.close"


def test_a_refusal_is_tritons() -> None:
    head, body = ask(Group.INFERENCE, "/infer", method="POST")

    assert (b"content-type", b"application/json") in head["headers"]
    assert body["body"] == b'{"error":"This API is restricted, expecting header \'k\'"}'
