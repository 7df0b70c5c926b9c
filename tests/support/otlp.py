"""What an OpenTelemetry collector understands of what Airflow sends it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from support.receivers import HttpReceiver, Post

Tags = dict[str, str]


def _metrics(post: Post) -> Iterator[Metric]:
    body = (
        gzip.decompress(post.body) if post.headers.get("Content-Encoding") == "gzip" else post.body
    )
    request = ExportMetricsServiceRequest.FromString(body)
    for of_resource in request.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            yield from of_scope.metrics


def read_counter(receiver: HttpReceiver, name: str) -> list[tuple[Tags, float]]:
    """Points of a counter, each of which must say what is new since the one before."""
    points = []
    for post in receiver.posts:
        for metric in _metrics(post):
            if metric.name == name:
                assert metric.WhichOneof("data") == "sum"
                assert metric.sum.aggregation_temporality == 1, "not delta"
                for point in metric.sum.data_points:
                    tags = {item.key: item.value.string_value for item in point.attributes}
                    points.append((tags, float(point.as_int or point.as_double)))
    return points


def read_gauge(receiver: HttpReceiver, name: str) -> list[float]:
    """Values of a gauge, in the order in which they came."""
    return [
        float(point.as_int or point.as_double)
        for post in receiver.posts
        for metric in _metrics(post)
        if metric.name == name
        for point in metric.gauge.data_points
    ]


def read_times_ms(receiver: HttpReceiver, name: str) -> list[float]:
    """Sums of a timer."""
    return [
        point.sum
        for post in receiver.posts
        for metric in _metrics(post)
        if metric.name == name
        for point in metric.exponential_histogram.data_points
    ]
