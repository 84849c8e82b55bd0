"""What a wrong configuration raises."""

LONGEST, HEAD, TAIL = 2200, 1500, 500
"""Characters of a message; of a longer one, those kept from its start and its end."""


class ConfigError(ValueError):
    """A configuration that breaks a rule: the message names rule, value and remedy.

    It can be logged whatever the value was: the middle of a text of thousands of characters is
    left out, and what is no Unicode is written as an escape.
    """

    def __init__(self, message: str) -> None:
        text = message.encode(errors="backslashreplace").decode()
        if len(text) > LONGEST:
            left_out = f"({len(text) - HEAD - TAIL:,} characters left out)"
            text = f"{text[:HEAD]}... {left_out} ...{text[-TAIL:]}"
        super().__init__(text)
