"""The OpenAPI description holds: generated requests against the application with a real store never surprise it."""

import pytest
import schemathesis
from hypothesis import Phase, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.api.plane import Plane, token
from tests.api.test_access import TABLE
from tests.examples import examples

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


# Streams do not end, so a generated call of one would wait for ever: tests/api/test_streams.py covers them.
OPERATIONS = sorted(
    (method, path.partition("?")[0].replace(":path}", "}")) for method, path in TABLE if not path.endswith("/stream")
)


@pytest.fixture(scope="module")
def description(tmp_path_factory):
    plane = Plane(tmp_path_factory.mktemp("described"), executing=False)
    yield schemathesis.openapi.from_asgi("/api/openapi.json", plane.app())
    plane.close()


@pytest.mark.hypothesis
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_application_answers_as_it_is_described(description, method, path):
    operation = description[path][method]

    @settings(max_examples=examples(40), phases=[Phase.generate], database=None)
    @given(strategies.data())
    def answers(data):
        mode = data.draw(strategies.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
        try:
            strategy = operation.as_strategy(generation_mode=mode)
            case = data.draw(strategy)
        except Unsatisfiable:
            return
        # A query parameter that comes twice is "invalid data" there; here, as in most frameworks, the last one counts.
        checks = [*CHECKS, negative_data_rejection] if method == "POST" else CHECKS
        case.call_and_validate(headers={"Authorization": f"Bearer {token('root')}"}, checks=checks)

    answers()
