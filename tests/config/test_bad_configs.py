import pytest
from config_faults import FAULTS, SOUND, Fault

from jubako.config.parse import parse_text
from jubako.config.prepare import prepare
from jubako.errors import InvalidArgument


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_configuration_with_a_fault_is_refused_in_triton_s_words(fault: Fault) -> None:
    config = parse_text(fault.text, "m/config.pbtxt")

    with pytest.raises(InvalidArgument) as refusal:
        prepare(config, "m", ["model.py"], complete=lambda config: config, gpus=[])

    assert str(refusal.value) == fault.message


def test_the_configuration_that_the_faults_are_put_into_is_sound() -> None:
    prepared = prepare(parse_text(SOUND, "m/config.pbtxt"), "m", ["model.py"], complete=None, gpus=[])

    assert prepared.warnings == ()
