"""Every route, method and spelling without its key and with it, over both lanes; the table of what there is."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import LANES, Served, identity, serving, simple

from jubako.protocols.access import AccessRules, Group, Key
from jubako.protocols.forwarding import Forwarding
from jubako.protocols.rest.gate import RuledGate
from jubako.protocols.rest.route import Verb, match
from jubako.request import InferRequest

from .wire import Answer, Wire, chunked, document, message, sum_of, sums

Serve = Callable[..., Served]

PATHS = {
    Verb.LIVE: ["/v2/health/live"],
    Verb.READY: ["/v2/health/ready"],
    Verb.MODEL_READY: ["/v2/models/simple/ready", "/v2/models/simple/versions/1/ready", "/v2/models/none/ready"],
    Verb.SERVER_METADATA: ["/v2"],
    Verb.MODEL_METADATA: ["/v2/models/simple", "/v2/models/simple/versions/1", "/v2/models/none"],
    Verb.MODEL_CONFIG: ["/v2/models/simple/config", "/v2/models/simple/versions/1/config"],
    Verb.STATISTICS: ["/v2/models/stats", "/v2/models/simple/stats", "/v2/models/simple/versions/1/stats"],
    Verb.INFER: [
        "/v2/models/simple/infer",
        "/v2/models/simple/versions/1/infer",
        "/v2/models/none/infer",
        "/v2/models/simple/versions/99999999999999999999/infer",
    ],
    Verb.GENERATE: ["/v2/models/simple/generate", "/v2/models/simple/versions/1/generate"],
    Verb.GENERATE_STREAM: ["/v2/models/simple/generate_stream", "/v2/models/simple/versions/1/generate_stream"],
    Verb.INDEX: ["/v2/repository/index", "/v2/repository/r/index"],
    Verb.LOAD: ["/v2/repository/models/simple/load", "/v2/repository/r/models/simple/load"],
    Verb.UNLOAD: ["/v2/repository/models/simple/unload", "/v2/repository/r/models/simple/unload"],
    Verb.SYSTEM_STATUS: ["/v2/systemsharedmemory/status", "/v2/systemsharedmemory/region/r/status"],
    Verb.SYSTEM_REGISTER: ["/v2/systemsharedmemory/region/r/register", "/v2/systemsharedmemory/register"],
    Verb.SYSTEM_UNREGISTER: ["/v2/systemsharedmemory/unregister", "/v2/systemsharedmemory/region/r/unregister"],
    Verb.CUDA_STATUS: ["/v2/cudasharedmemory/status", "/v2/cudasharedmemory/region/r/status"],
    Verb.CUDA_REGISTER: ["/v2/cudasharedmemory/region/r/register", "/v2/cudasharedmemory/register"],
    Verb.CUDA_UNREGISTER: ["/v2/cudasharedmemory/unregister", "/v2/cudasharedmemory/region/r/unregister"],
    Verb.TRACE_SETTING: ["/v2/trace/setting", "/v2/models/simple/trace/setting"],
    Verb.LOGGING: ["/v2/logging"],
}
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD")
SECRET = "open sesame"
EVERYTHING = AccessRules({group: Key("The-Key", SECRET.encode()) for group in Group})
KEY = ("the-key", SECRET)


@pytest.fixture(scope="module", params=LANES)
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose every category needs the key."""
    with serving(
        request.param, tmp_path_factory.mktemp("models"), {"simple": simple()}, gate=RuledGate(EVERYTHING)
    ) as served:
        yield served


def ask(served: Served, request: bytes, *, head: bool = False) -> Answer:
    with Wire.to(served) as wire:
        wire.send(request)
        return wire.answer(head=head)


def spellings(path: str) -> list[str]:
    """Return other ways to write a target that some server takes for the same."""
    return [
        path,
        f"{path}?the-key=open+sesame",
        f"http://other.example{path}",
        f"HTTP://other.example:80{path}?x",
        f"{path}#fragment",
        f"/%76%32{path[3:]}",
        path.replace("l", "%6c"),
        f"/{path}",
        f"{path}/",
        path.replace("/v2/", "/v2//"),
        path.replace("/v2", "/V2"),
        path.replace("/v2", "/./v2"),
        path.replace("/v2", "/x/../v2"),
        f"{path};x",
        f"{path}%0a",
        f"{path}%00",
        path.replace("/", "\\"),
    ]


def test_every_call_has_a_row_here_that_leads_to_it() -> None:
    assert set(PATHS) == set(Verb), "a new call needs a row in PATHS, and so its category a test"
    for verb, paths in PATHS.items():
        for path in paths:
            route = match(path)
            assert route is not None
            assert route.verb is verb
            assert isinstance(route.group, Group)


@pytest.mark.parametrize("verb", PATHS, ids=lambda verb: verb.words)
def test_no_method_is_answered_without_the_key(closed: Served, verb: Verb) -> None:
    with Wire.to(closed) as wire:
        for path in PATHS[verb]:
            for method in METHODS:
                wire.send(message(method, path, b"{" if method != "HEAD" else None))  # no JSON: it is not read either
                answer = wire.answer(head=method == "HEAD")
                assert answer.status == 403, (method, path)
                if method != "HEAD":
                    assert answer.error == "This API is restricted, expecting header 'The-Key'"


@pytest.mark.parametrize("verb", PATHS, ids=lambda verb: verb.words)
def test_with_the_key_every_method_is_answered_as_without_rules(closed: Served, verb: Verb) -> None:
    for path in PATHS[verb]:
        for method in METHODS:
            with_key = ask(closed, message(method, path, b"{}", KEY), head=method == "HEAD")
            assert with_key.status != 403, (method, path)
            assert (with_key.status == 405) == (method not in verb.methods)


@pytest.mark.parametrize("verb", PATHS, ids=lambda verb: verb.words)
def test_no_spelling_leads_around_the_key(closed: Served, verb: Verb) -> None:
    for path in [spelling for known in PATHS[verb] for spelling in spellings(known)]:
        for method in ("GET", "POST"):
            status = ask(closed, message(method, path, b"{}")).status
            assert status in (400, 403, 404), (method, path)


def test_no_spelling_of_an_inference_leads_around_the_key(closed: Served) -> None:
    whole = sums(1)
    path = b"/v2/models/simple/infer"
    for spelling in spellings(path.decode()):
        assert ask(closed, whole.replace(path, spelling.encode(), 1)).status in (400, 403, 404), spelling
    assert closed.models["simple"].executions == 0


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ([], False),
        ([("The-Key", SECRET)], True),
        ([("THE-KEY", SECRET)], True),
        ([("the-key", SECRET), ("The-Key", SECRET)], True),
        ([("the-key", SECRET), ("the-key", "wrong")], False),
        ([("the-key", "wrong"), ("the-key", SECRET)], False),
        ([("the-key", f"{SECRET}, {SECRET}")], False),
        ([("the-key", SECRET.upper())], False),
        ([("the-key", SECRET[:-1])], False),
        ([("the-key", f"{SECRET}\x01")], False),
        ([("the-key", "")], False),
        ([("the_key", SECRET)], False),
        ([("x-the-key", SECRET)], False),
        ([("authorization", SECRET)], False),
    ],
)
def test_the_key_and_nothing_but_the_key_opens_inference(
    closed: Served, headers: list[tuple[str, str]], passes: bool
) -> None:
    for _ in range(3):  # a head that came before is remembered
        answer = ask(closed, sums(1, *headers))
        if passes:
            assert sum_of(answer) == 1
        else:
            assert answer.status in (400, 403)


def test_a_key_is_asked_of_each_request_of_a_connection(closed: Served) -> None:
    with Wire.to(closed) as wire:
        for value in range(3):
            wire.send(sums(value, KEY))
            assert sum_of(wire.answer()) == value
            wire.send(sums(value))
            assert wire.answer().status == 403
            wire.send(sums(value, KEY), sums(value), sums(value, ("the-key", "wrong")), sums(value, KEY))
            assert sum_of(wire.answer()) == value
            assert [wire.answer().status, wire.answer().status] == [403, 403]
            assert sum_of(wire.answer()) == value


@pytest.mark.parametrize(
    "more",
    [("Accept-Encoding", "gzip"), ("Content-Encoding", "gzip"), ("Expect", "100-continue"), ("Connection", "close")],
    ids=str,
)
def test_no_header_leads_around_the_key(closed: Served, more: tuple[str, str]) -> None:
    assert ask(closed, sums(1, more)).status == 403


def test_no_form_of_a_body_leads_around_the_key(closed: Served) -> None:
    assert ask(closed, sums(1, version="1.0")).status == 403
    assert ask(closed, chunked("/v2/models/simple/infer", [b"{", b"}"])).status == 403
    assert ask(closed, message("POST", "/v2/models/simple/infer")).status == 403
    absurd = b"POST /v2/models/simple/infer HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n"
    assert ask(closed, absurd).status == 403  # before the body is thought of


@pytest.mark.parametrize("group", Group)
def test_a_key_of_one_category_closes_that_one_alone(serve: Serve, group: Group) -> None:
    served = serve({"simple": simple()}, gate=RuledGate(AccessRules({group: Key("k", b"v")})))
    with Wire.to(served) as wire:
        for verb, paths in PATHS.items():
            wire.send(message("GET", paths[0]))
            assert (wire.answer().status == 403) == (verb.group is group), verb


# --- header forwarding ------------------------------------------------------------------------------------------------


class Noting:
    """Writes down which parameters a server's requests have."""

    def __init__(self, served: Served) -> None:
        self.parameters: list[dict[str, Any]] = []
        runner = served.in_loop(lambda: served.server.runner("fp32"))
        submit = runner.submit

        def noted(request: InferRequest, reply: Any) -> Any:
            self.parameters.append(dict(request.signature.parameters))
            return submit(request, reply)

        runner.submit = noted


FORWARDED = [("X-User", "ann"), ("x-user", "bob"), ("X-Tenant", "7"), ("Other", "no")]


def test_headers_that_match_become_parameters_and_win_over_the_bodys(serve: Serve) -> None:
    served = serve({"fp32": identity("FP32")}, forwarding=Forwarding("^x-"))
    noting = Noting(served)
    body = document([1.0], parameters={"x-user": "eve", "mine": 3})

    for headers in (FORWARDED, FORWARDED[2:], []):
        assert ask(served, message("POST", "/v2/models/fp32/infer", body, *headers)).status == 200

    assert noting.parameters == [
        {"x-user": "ann, bob", "mine": 3, "x-tenant": "7"},
        {"x-user": "eve", "mine": 3, "x-tenant": "7"},
        {"x-user": "eve", "mine": 3},
    ]


def test_a_reserved_header_is_refused(serve: Serve) -> None:
    served = serve({"simple": simple()}, forwarding=Forwarding(".*"))

    answer = ask(served, sums(1, ("Priority", "u=1")))

    assert (answer.status, answer.error) == (
        400,
        "Header 'priority' is reserved for Triton usage and cannot be forwarded.",
    )
    assert sum_of(ask(served, sums(1))) == 1
