"""What errors look like: problem details as RFC 9457 has them."""

from pydantic import ConfigDict

from watchnext.config import Closed


class ParameterError(Closed):
    """What is wrong with one parameter."""

    parameter: str
    got: str | None
    """What was sent; null where it is missing."""
    problem: str


class Problem(Closed):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "k: Input should be greater than or equal to 1.",
                "errors": [{"parameter": "k", "got": "0", "problem": "Input should be greater than or equal to 1"}],
            }
        },
    )

    type: str = "about:blank"
    """Always `about:blank`: the status says what kind of problem it is."""
    title: str
    """The name of the status."""
    status: int
    """The HTTP status."""
    detail: str
    """What went wrong here, and what to do about it."""
    errors: tuple[ParameterError, ...] = ()
    """Status 422: every parameter that is wrong. Status 404: every one that names what is not there."""
