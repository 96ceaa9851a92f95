"""Pages of metrics, read as Prometheus reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

Labels = Mapping[str, str]


@dataclass
class Page:
    """The families and samples of a page; made of text that has to be right."""

    text: str
    types: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        for family in text_string_to_metric_families(self.text):
            self.types[family.name] = family.type
            self.samples += family.samples

    def value(self, name: str, **labels: str) -> float:
        """Return the one sample of that name whose labels include `labels`."""
        (found,) = [s.value for s in self.named(name) if labels.items() <= s.labels.items()]
        return float(found)

    def named(self, name: str) -> list[Sample]:
        """Return the samples of that name; the parser gives every counter the ending `_total`."""
        return [sample for sample in self.samples if sample.name in (name, f"{name}_total")]


def faults(text: str) -> list[str]:
    """Return what is wrong with a page, as a linter of the format would say it: empty for a page that is right."""
    found: list[str] = []
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    if not text.endswith("\n"):
        found.append("the last line does not end")
    for kind in ("HELP", "TYPE"):
        names = [line.split(" ")[2] for line in text.splitlines() if line.startswith(f"# {kind} ")]
        found += [f"{name} has {kind} more than once" for name in {*names} if names.count(name) > 1]
    for family in text_string_to_metric_families(text):
        if not family.documentation:
            found.append(f"{family.name} has no help")
        if family.type in ("unknown", "untyped"):
            found.append(f"{family.name} has no type")
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            if key in seen:
                found.append(f"{sample.name} {sample.labels} is there twice")
            seen.add(key)
        if family.type == "histogram":
            found += _histogram_faults(family.name, family.samples)
    return found


def _histogram_faults(name: str, samples: list[Sample]) -> list[str]:
    found: list[str] = []
    groups: dict[tuple[tuple[str, str], ...], dict[str, list[Sample]]] = {}
    for sample in samples:
        key = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        groups.setdefault(key, {}).setdefault(sample.name.removeprefix(name), []).append(sample)
    for key, parts in groups.items():
        if set(parts) != {"_bucket", "_count", "_sum"}:
            found.append(f"{name} {key} has {sorted(parts)}")
            continue
        ends = [float(bucket.labels["le"]) for bucket in parts["_bucket"]]
        counts = [bucket.value for bucket in parts["_bucket"]]
        if ends != sorted(ends) or ends[-1] != float("inf"):
            found.append(f"{name} {key}: buckets out of order, or no last one")
        if counts != sorted(counts) or counts[-1] != parts["_count"][0].value:
            found.append(f"{name} {key}: buckets do not add up")
    return found
