"""Which operation of which service a request is, and the translation of its input and output.

botocore's service models decide all of it, read through moto's router, parsers and serializers, so
nothing here can disagree with what boto3 sends and expects.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from botocore.validate import ParamValidator
from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.core.serialize import SERIALIZERS
from moto.core.utils import get_service_model
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.wrappers import Response

Params = dict[str, Any]
"""An operation's input or output by its model's member names."""

SERVICES: Mapping[str, str] = {
    "ecr": "ecr",
    "greengrass": "greengrassv2",
    "iam": "iam",
    "iot": "iot",
    "iot-jobs-data": "iot-jobs-data",
    "iotdata": "iot-data",
    "lambda": "lambda",
    "logs": "logs",
    "s3": "s3",
    "sagemaker": "sagemaker",
    "sts": "sts",
}
"""Signing name → botocore's name of the service."""

_REQUEST_ID = "00000000-0000-0000-0000-000000000000"


class ServiceError(Exception):
    """An error that a service answers with.

    Args:
        code: The error's name, a shape of the service model where there is one.
        message: One sentence.
        status: HTTP status; None takes the shape's.
        members: Further members of the error's shape.
    """

    def __init__(
        self, code: str, message: str, status: int | None = None, **members: object
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.members = members


@lru_cache(maxsize=32)
def model(service: str) -> ServiceModel:
    """Return a service's model, by botocore's name."""
    return get_service_model(service)


def operation_of(service: str, request: Request) -> tuple[OperationModel, Params] | None:
    """Find the operation that a request calls.

    Returns:
        The operation and the labels of its path, or None when the service has no such operation.
    """
    described = model(service)
    if described.protocol in {"json", "smithy-rpc-v2-cbor"}:
        name = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
    elif described.protocol == "query":
        name = _action(request)
    else:
        try:
            operation, labels = get_service_router(service).match(request)
        except (NotFound, MethodNotAllowed, NotImplementedError):
            return None
        return operation, dict(labels)
    if name not in described.operation_names:
        return None
    return described.operation_model(name), {}


def form(request: Request) -> dict[str, list[str]]:
    """Read the fields of a query protocol's body."""
    return parse_qs(request.get_data(cache=True, parse_form_data=False).decode())


def _action(request: Request) -> str:
    return (form(request).get("Action") or [request.args.get("Action", "")])[0]


def parse(operation: OperationModel, labels: Params, request: Request) -> Params:
    """Read an operation's input.

    Raises:
        ServiceError: The body is not JSON, or a member is missing or has the wrong type or length,
            as the model says: ``SerializationException`` or the service's validation error.
    """
    parser = PROTOCOL_PARSERS[operation.service_model.protocol](operation)
    try:
        parsed: Params = parser.parse(
            {
                "method": request.method,
                "values": request.args,
                "headers": request.headers,
                "body": request.get_data(cache=True, parse_form_data=False),
                "url_path": request.path,
                "url_params": labels,
            }
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ServiceError("SerializationException", f"cannot read the request: {error}") from error
    _check(operation, parsed)
    return parsed


def _check(operation: OperationModel, params: Params) -> None:
    if operation.input_shape is None:
        return
    report = ParamValidator().validate(params, operation.input_shape)
    if report.has_errors():
        raise ServiceError(validation_code(operation), report.generate_report())
    _check_patterns(operation, operation.input_shape, params, "")


def _check_patterns(operation: OperationModel, shape: Any, value: Any, where: str) -> None:
    """Check what botocore leaves to the service: patterns, enumerations, greatest lengths."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if isinstance(value, dict) and value.get(name) is not None:
                _check_patterns(
                    operation, member, value[name], f"{where}.{name}" if where else name
                )
    elif shape.type_name == "list":
        for item in value:
            _check_patterns(operation, shape.member, item, where)
    elif shape.type_name == "map":
        for item in value.values():
            _check_patterns(operation, shape.value, item, where)
    reason = _broken_rule(shape, value)
    if reason is not None:
        raise ServiceError(
            validation_code(operation),
            f"1 validation error detected: Value at '{where}' failed to satisfy constraint: "
            f"Member must {reason}",
        )


def _broken_rule(shape: Any, value: Any) -> str | None:
    limits = shape.metadata
    if isinstance(value, str):
        pattern = limits.get("pattern")
        compiled = _compiled(pattern) if pattern else None
        if compiled is not None and not compiled.fullmatch(value):
            return f"satisfy regular expression pattern: {pattern}"
        if limits.get("enum") and value not in limits["enum"]:
            return f"satisfy enum value set: [{', '.join(limits['enum'])}]"
    if "max" in limits:
        size = value if isinstance(value, int | float) else None
        if size is not None and not isinstance(value, bool) and size > limits["max"]:
            return f"have value less than or equal to {limits['max']}"
        if isinstance(value, str | bytes | list | dict) and len(value) > limits["max"]:
            return f"have length less than or equal to {limits['max']}"
    return None


_CLASSES = {
    "Alnum": "A-Za-z0-9",
    "Alpha": "A-Za-z",
    "ASCII": r"\x00-\x7f",
    "C": r"\x00-\x1f\x7f",
    "Digit": "0-9",
    "Graph": "!-~",
    "L": r"\w",
    "Lower": "a-z",
    "M": r"\u0300-\u036f",
    "N": r"\d",
    "P": r"!-/:-@\[-`{-~",
    "Punct": r"!-/:-@\[-`{-~",
    "S": r"$+<=>^`|~\u00a0-\uffff",
    "Upper": "A-Z",
    "Z": r"\s",
}


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """Turn the model's (Java) regular expression into one of Python; None when it cannot be."""
    if "&&" in pattern:
        return None
    text = re.sub(r"\\p\{(\w+)\}", lambda match: _CLASSES.get(match[1], r"\S"), pattern)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return re.compile(text)
        except re.error:
            return None


def validation_code(operation: OperationModel) -> str:
    """Return the name of the service's error for an input that breaks the model's rules."""
    names = [shape.name for shape in operation.error_shapes]
    for wanted in ("ValidationException", "InvalidRequestException", "InvalidParameterException"):
        if wanted in names:
            return wanted
    return "ValidationException"


def render(operation: OperationModel, result: Params) -> Response:
    """Write an operation's output.

    Raises:
        AssertionError: The result is not what the model says: a defect of the emulator.
    """
    if operation.output_shape is not None:
        report = ParamValidator().validate(result, operation.output_shape)
        if report.has_errors():
            raise AssertionError(f"{operation.name} answers wrongly: {report.generate_report()}")
    serializer = SERIALIZERS[operation.service_model.protocol](operation)
    done = serializer.serialize({k: v for k, v in result.items() if v is not None})
    body = done["body"] if operation.http.get("responseCode") != 204 else b""
    answer = Response(body, status=done["status_code"], headers=dict(done["headers"]))
    answer.headers["x-amzn-RequestId"] = _REQUEST_ID
    return answer


def render_error(service: str, error: ServiceError) -> Response:
    """Write an error in the protocol of a service."""
    described = model(service)
    shape = next((s for s in described.error_shapes if s.name == error.code), None)
    status = error.status
    if status is None and shape is not None:
        status = shape.metadata.get("error", {}).get("httpStatusCode")
    status = status or 400
    if described.protocol in {"rest-xml", "query"}:
        return _xml_error(service, error, status)
    body: dict[str, object] = {"message": error.message, **error.members}
    headers = {"x-amzn-RequestId": _REQUEST_ID, "x-amzn-ErrorType": error.code}
    if described.protocol == "json":
        body["__type"] = error.code
    return Response(
        json.dumps(body), status=status, headers=headers, content_type="application/json"
    )


def _xml_error(service: str, error: ServiceError, status: int) -> Response:
    extra = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in error.members.items())
    inner = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>{extra}"
    if service == "s3":
        body = f"<?xml version='1.0'?><Error>{inner}<RequestId>{_REQUEST_ID}</RequestId></Error>"
    else:
        inner = f"<Type>{'Sender' if status < 500 else 'Receiver'}</Type>{inner}"
        body = (
            f"<ErrorResponse><Error>{inner}</Error><RequestId>{_REQUEST_ID}</RequestId>"
            "</ErrorResponse>"
        )
    return Response(body, status=status, content_type="application/xml")
