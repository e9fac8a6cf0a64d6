"""Commands as a user runs them: what they print, and what they refuse."""

from collections.abc import Callable

import pytest

from openjepa import cli


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints on standard output."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        cli.main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one sentence with which a command ends; nothing else may be printed."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        out, sentence = capsys.readouterr()
        assert end.value.code == 2
        assert out == ""
        assert sentence.startswith("openjepa: ") and sentence.count("\n") == 1 and sentence.endswith("\n")
        return sentence.removeprefix("openjepa: ").strip()

    return call
