import pytest

from glassbox.errors import UserError, run


def test_a_user_error_is_one_line_and_exit_code_2(capsys):
    def main() -> None:
        raise UserError("params.yaml: train.epochs is 0")

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: params.yaml: train.epochs is 0\n"


def test_ctrl_c_is_one_line_and_exit_code_130(capsys):
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_mistake_of_ours_keeps_its_traceback():
    def main() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        run(main)
