import pytest

from jubako.protocols.rest.route import Group, Route, Verb, infer_target, match

ROUTES = [
    ("/v2", Route(Verb.SERVER_METADATA)),
    ("/v2/health/live", Route(Verb.LIVE)),
    ("/v2/health/ready", Route(Verb.READY)),
    ("/v2/models/stats", Route(Verb.STATISTICS)),
    ("/v2/models/m", Route(Verb.MODEL_METADATA, model="m")),
    ("/v2/models/m/versions/3", Route(Verb.MODEL_METADATA, model="m", version="3")),
    ("/v2/models/m/ready", Route(Verb.MODEL_READY, model="m")),
    ("/v2/models/m/versions/03/ready", Route(Verb.MODEL_READY, model="m", version="03")),
    ("/v2/models/m/config", Route(Verb.MODEL_CONFIG, model="m")),
    ("/v2/models/m/stats", Route(Verb.STATISTICS, model="m")),
    ("/v2/models/m/versions/1/stats", Route(Verb.STATISTICS, model="m", version="1")),
    ("/v2/models/m/infer", Route(Verb.INFER, model="m")),
    ("/v2/models/m/versions/1/infer", Route(Verb.INFER, model="m", version="1")),
    ("/v2/models/m/generate", Route(Verb.GENERATE, model="m")),
    ("/v2/models/m/versions/1/generate_stream", Route(Verb.GENERATE_STREAM, model="m", version="1")),
    ("/v2/models/m/trace/setting", Route(Verb.TRACE_SETTING, model="m")),
    ("/v2/models/versions/versions/2", Route(Verb.MODEL_METADATA, model="versions", version="2")),
    ("/v2/models/stats/ready", Route(Verb.MODEL_READY, model="stats")),
    ("/v2/trace/setting", Route(Verb.TRACE_SETTING)),
    ("/v2/logging", Route(Verb.LOGGING)),
    ("/v2/repository/index", Route(Verb.INDEX)),
    ("/v2/repository/mine/index", Route(Verb.INDEX, repository="mine")),
    ("/v2/repository/models/m/load", Route(Verb.LOAD, model="m")),
    ("/v2/repository/models/m/unload", Route(Verb.UNLOAD, model="m")),
    ("/v2/repository/r/models/m/load", Route(Verb.LOAD, model="m", repository="r")),
    ("/v2/systemsharedmemory/status", Route(Verb.SYSTEM_STATUS)),
    ("/v2/systemsharedmemory/region/r/status", Route(Verb.SYSTEM_STATUS, region="r")),
    ("/v2/systemsharedmemory/region/r/register", Route(Verb.SYSTEM_REGISTER, region="r")),
    ("/v2/systemsharedmemory/unregister", Route(Verb.SYSTEM_UNREGISTER)),
    ("/v2/cudasharedmemory/status", Route(Verb.CUDA_STATUS)),
    ("/v2/cudasharedmemory/region/r/register", Route(Verb.CUDA_REGISTER, region="r")),
    ("/v2/cudasharedmemory/region/r/unregister", Route(Verb.CUDA_UNREGISTER, region="r")),
]

NOT_ROUTES = [
    "",
    "/",
    "/v1",
    "/V2",
    "/v2/",
    "//v2",
    "/v22",
    "/v2\n",
    "/v2/health",
    "/v2/health/",
    "/v2/health/dead",
    "/v2/health/live/",
    "/v2/health//live",
    "/v2/he%61lth/live",
    "/v2/models",
    "/v2/models/",
    "/v2/models/m/",
    "/v2/models/m/ready/",
    "/v2/models/m/infer\n",
    "/v2/models//infer",
    "/v2/models/a/b/infer",
    "/v2/models/m/other",
    "/v2/models/m/versions",
    "/v2/models/m/versions/",
    "/v2/models/m/versions/v1",
    "/v2/models/m/versions/-1",
    "/v2/models/m/versions/١",
    "/v2/models/m/versions/1/",
    "/v2/models/m/versions/1/trace/setting",
    "/v2/repository",
    "/v2/repository/models/m",
    "/v2/repository/models/m/reload",
    "/v2/systemsharedmemory",
    "/v2/systemsharedmemory/region/status",
    "/v2/systemsharedmemory/region/r/other",
    "/v2/sharedmemory/status",
]


@pytest.mark.parametrize(("path", "route"), ROUTES)
def test_a_path_of_the_protocol_has_its_route(path: str, route: Route) -> None:
    assert match(path) == route


@pytest.mark.parametrize("path", NOT_ROUTES)
def test_any_other_spelling_has_none(path: str) -> None:
    assert match(path) is None


def test_names_are_decoded_once() -> None:
    assert match("/v2/models/a%20b%2525/ready") == Route(Verb.MODEL_READY, model="a b%25")


def test_an_encoded_slash_stays_within_the_name() -> None:
    assert match("/v2/models/..%2fsecret/infer") == Route(Verb.INFER, model="../secret")


def test_bytes_that_are_no_text_still_make_a_name() -> None:
    assert infer_target(b"/v2/models/%ff\xff/infer") == ("\ufffd\ufffd", "")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/v2/models/m/infer", ("m", "")),
        (b"/v2/models/m/versions/02/infer", ("m", "02")),
        (b"/v2/models/a%2Bb/infer", ("a+b", "")),
        (b"/v2/models/m", None),
        (b"/v2/models/m/infer/", None),
        (b"/v2", None),
        (b"", None),
    ],
)
def test_the_fast_lane_takes_infer_alone(path: bytes, target: tuple[str, str] | None) -> None:
    assert infer_target(path) == target


def test_every_verb_has_a_group_and_methods() -> None:
    assert {verb.group for verb in Verb} == set(Group)
    assert all(verb.methods <= {"GET", "POST"} and verb.methods for verb in Verb)
