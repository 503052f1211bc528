"""The record types of a Nomad snapshot as data: a new type in a new Nomad is one new row here.

The fields of each type, with their Go types and the releases that have them, are in `nomad_types.json`, read off
Nomad's struct definitions by reflection for the releases in `RELEASES`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class RecordType:
    """One kind of record in state.bin.

    Attributes:
        byte: The type byte ahead of each record (Nomad: nomad/fsm.go, SnapshotType).
        name: What `nomad operator snapshot inspect` calls it.
        table: Our name of its table.
        struct: The Go struct that a record is.
        key: The fields that tell one record from another; empty for a table without a key.
        since: The first release whose servers know the byte.
    """

    byte: int
    name: str
    table: str
    struct: str
    key: tuple[str, ...]
    since: str


TYPES: tuple[RecordType, ...] = (
    RecordType(0, "Node", "nodes", "Node", ("ID",), "0.1"),
    RecordType(1, "Job", "jobs", "Job", ("Namespace", "ID"), "0.1"),
    RecordType(2, "Index", "indexes", "IndexEntry", ("Key",), "0.1"),
    RecordType(3, "Eval", "evals", "Evaluation", ("ID",), "0.1"),
    RecordType(4, "Alloc", "allocs", "Allocation", ("ID",), "0.1"),
    RecordType(5, "TimeTable", "time_table", "TimeTableEntry", (), "0.1"),
    RecordType(6, "PeriodicLaunch", "periodic_launches", "PeriodicLaunch", ("Namespace", "ID"), "0.3"),
    RecordType(7, "JobSummary", "job_summaries", "JobSummary", ("Namespace", "JobID"), "0.4"),
    RecordType(8, "VaultAccessor", "vault_accessors", "VaultAccessor", ("Accessor",), "0.5"),
    RecordType(9, "JobVersion", "job_versions", "Job", ("Namespace", "ID", "Version"), "0.6"),
    RecordType(10, "Deployment", "deployments", "Deployment", ("ID",), "0.6"),
    RecordType(11, "ACLPolicy", "acl_policies", "ACLPolicy", ("Name",), "0.7"),
    RecordType(12, "ACLToken", "acl_tokens", "ACLToken", ("AccessorID",), "0.7"),
    RecordType(13, "SchedulerConfig", "scheduler_config", "SchedulerConfiguration", (), "0.9"),
    RecordType(14, "ClusterMetadata", "cluster_metadata", "ClusterMetadata", (), "0.10.4"),
    RecordType(15, "ServiceIdentityTokenAccessor", "si_token_accessors", "SITokenAccessor", ("AccessorID",), "0.10.4"),
    RecordType(16, "ScalingPolicy", "scaling_policies", "ScalingPolicy", ("ID",), "0.11"),
    RecordType(17, "CSIPlugin", "csi_plugins", "CSIPlugin", ("ID",), "0.11"),
    RecordType(18, "CSIVolume", "csi_volumes", "CSIVolume", ("Namespace", "ID"), "0.11"),
    RecordType(19, "ScalingEvents", "scaling_events", "JobScalingEvents", ("Namespace", "JobID"), "0.11"),
    RecordType(20, "EventSink", "event_sinks", "EventSink", ("ID",), "1.0"),
    RecordType(21, "ServiceRegistration", "services", "ServiceRegistration", ("ID",), "1.3"),
    RecordType(22, "Variables", "variables", "VariableEncrypted", ("Namespace", "Path"), "1.4"),
    RecordType(23, "VariablesQuota", "variables_quotas", "VariablesQuota", ("Namespace",), "1.4"),
    RecordType(24, "RootKeyMeta", "root_key_meta", "RootKeyMeta", ("KeyID",), "1.4"),
    RecordType(25, "ACLRole", "acl_roles", "ACLRole", ("ID",), "1.4"),
    RecordType(26, "ACLAuthMethod", "acl_auth_methods", "ACLAuthMethod", ("Name",), "1.5"),
    RecordType(27, "ACLBindingRule", "acl_binding_rules", "ACLBindingRule", ("ID",), "1.5"),
    RecordType(28, "NodePool", "node_pools", "NodePool", ("Name",), "1.6"),
    RecordType(29, "JobSubmission", "job_submissions", "JobSubmission", ("Namespace", "JobID", "Version"), "1.6.6"),
    RecordType(30, "WrappedRootKeys", "root_keys", "RootKey", ("KeyID",), "1.9.0"),
    RecordType(31, "HostVolumeSnapshot", "host_volumes", "HostVolume", ("Namespace", "ID"), "1.10"),
    RecordType(64, "Namespace", "namespaces", "Namespace", ("Name",), "1.0"),
)
BY_BYTE: Mapping[int, RecordType] = {t.byte: t for t in TYPES}
BY_TABLE: Mapping[str, RecordType] = {t.table: t for t in TYPES}

#: The order that servers write types in (the format guide, section 2); Enterprise's are not known one by one.
STREAM_ORDER = (
    *(5, 2, 0, 28, 1, 3, 4, 6, 7, 8, 15, 9, 10, 16, 19, 17),
    *(18, 11, 12, 64, 13, 14, 21, 22, 23, 24, 30, 25, 26, 27, 29, 31),
)

TIME_TABLE = BY_TABLE["time_table"].byte
TIME_TABLE_UNTIL = "1.9.2"  # the first release that writes none

#: What the Index table calls our tables, where it has another name; "" for those that it does not list.
_INDEX_ROWS: Mapping[str, str] = {
    "acl_policies": "acl_policy",
    "acl_tokens": "acl_token",
    "cluster_metadata": "",
    "deployments": "deployment",
    "indexes": "",
    "job_submissions": "",
    "job_summaries": "job_summary",
    "job_versions": "job_version",
    "periodic_launches": "periodic_launch",
    "scaling_events": "scaling_event",
    "scaling_policies": "scaling_policy",
    "scheduler_config": "",
    "services": "service_registrations",
    "si_token_accessors": "si_accessors",
    "time_table": "",
    "variables_quotas": "variables",
}

#: The tables whose row in the Index table is the highest ModifyIndex among their records, unless the last write was a
#: deletion.
STAMPED_TABLES = (
    "acl_policies",
    "acl_roles",
    "acl_auth_methods",
    "acl_binding_rules",
    "acl_tokens",
    "namespaces",
    "node_pools",
    "jobs",
    "job_versions",
    "job_summaries",
    "evals",
    "deployments",
    "host_volumes",
    "periodic_launches",
    "scaling_policies",
    "scaling_events",
    "services",
    "root_keys",
    "root_key_meta",
    "variables",
)

#: Integers that are times, which nothing in the stream marks: `Struct.Field` -> unit, as numpy names units.
INTEGER_TIMES: Mapping[str, str] = {
    "Job.SubmitTime": "ns",
    "Evaluation.CreateTime": "ns",
    "Evaluation.ModifyTime": "ns",
    "Allocation.CreateTime": "ns",
    "Allocation.ModifyTime": "ns",
    "Deployment.CreateTime": "ns",
    "Deployment.ModifyTime": "ns",
    "VariableEncrypted.CreateTime": "ns",
    "VariableEncrypted.ModifyTime": "ns",
    "CSIPlugin.CreateTime": "ns",
    "CSIPlugin.ModifyTime": "ns",
    "CSIVolume.CreateTime": "ns",
    "CSIVolume.ModifyTime": "ns",
    "HostVolume.CreateTime": "ns",
    "HostVolume.ModifyTime": "ns",
    "ClusterMetadata.CreateTime": "ns",
    "RootKeyMeta.CreateTime": "ns",
    "RootKey.CreateTime": "ns",
    "TaskEvent.Time": "ns",
    "RescheduleEvent.RescheduleTime": "ns",
    "ScalingEvent.Time": "ns",  # seconds before 1.4 or so
    "Node.StatusUpdatedAt": "s",
}

#: Durations that Nomad's JSON prints as Go does ("8h0m0s") and not as nanoseconds.
TEXT_DURATIONS = frozenset(
    {
        "ACLAuthMethod.MaxTokenTTL",
        "ACLAuthMethodConfig.ClockSkewLeeway",
        "ACLAuthMethodConfig.ExpirationLeeway",
        "ACLAuthMethodConfig.NotBeforeLeeway",
        "ACLToken.ExpirationTTL",
    }
)

Sensitivity: TypeAlias = Literal["", "always", "may", "seldom", "url", "identifies", "free"]

#: Where secrets and names are: `Struct.Field` -> what the text and bytes at or below it are.
#:
#: `always` a secret; `may` hold secrets, and likely does: both are masked unless asked for. `seldom`: may hold secrets,
#: is shown and yet replaced by any redaction. `url`: text in which a URL may have credentials. `identifies` a person or
#: a host. `free`: what people write or programs say, which may tell anything.
_PLACES: Mapping[Sensitivity, tuple[str, ...]] = {
    "always": (
        "ACLAuthMethodConfig.OIDCClientSecret",
        "ACLToken.SecretID",
        "Allocation.SignedIdentities",
        "CSIVolume.Secrets",
        "Evaluation.LeaderACL",
        "Job.ConsulToken",
        "Job.VaultToken",
        "Node.SecretID",
        "OIDCClientAssertion.ClientSecret",
        "OIDCClientAssertionKey.PemKey",
        "v2.BlobInfo.Plaintext",
        "v2.KeyInfo.Key",
        "VaultAccessor.Token",
        "WrappedKey.KeyEncryptionKey",
    ),
    "may": (
        "ConsulHTTPHeaderModifiers.Add",
        "ConsulHTTPHeaderModifiers.Set",
        "CSIMountOptions.MountFlags",
        "Job.Payload",
        "JobSubmission.Source",
        "JobSubmission.VariableFlags",
        "JobSubmission.Variables",
        "OIDCClientAssertion.ExtraHeaders",
        "Secret.Config",
        "Secret.Env",
        "ServiceCheck.Body",
        "ServiceCheck.Header",
        "SidecarTask.Config",
        "SidecarTask.Env",
        "Task.Config",
        "Task.Env",
        "TaskArtifact.GetterHeaders",
        "TaskArtifact.GetterOptions",
        "Template.EmbeddedTmpl",
    ),
    "seldom": (
        "Action.Args",
        "Action.Command",
        "ChangeScript.Args",
        "ChangeScript.Command",
        "CNIConfig.Args",
        "ConsulGatewayProxy.Config",
        "ConsulProxy.Config",
        "ConsulUpstream.Config",
        "CSIVolume.Context",
        "CSIVolume.Parameters",
        "EventSink.Address",
        "HostVolume.Parameters",
        "Job.Meta",
        "MultiregionRegion.Meta",
        "ServiceCheck.Args",
        "ServiceCheck.Command",
        "SidecarTask.Meta",
        "Task.Meta",
        "TaskGroup.Meta",
        "TaskHandle.DriverState",
        "VariableLock.ID",
    ),
    "url": (
        "ACLAuthMethodConfig.AllowedRedirectURIs",
        "ACLAuthMethodConfig.JWKSURL",
        "ACLAuthMethodConfig.OIDCDiscoveryURL",
        "JobUILink.Url",
        "NodeEvent.Details",
        "NodeEvent.Message",
        "ServiceCheck.Path",
        "TaskArtifact.GetterSource",
        "TaskEvent.Details",
        "TaskEvent.DisplayMessage",
        "TaskEvent.DownloadError",
        "TaskEvent.DriverError",
        "TaskEvent.DriverMessage",
        "TaskEvent.GenericSource",
        "TaskEvent.KillError",
        "TaskEvent.KillReason",
        "TaskEvent.Message",
        "TaskEvent.RestartReason",
        "TaskEvent.SetupError",
        "TaskEvent.TaskSignalReason",
        "TaskEvent.ValidationError",
        "TaskEvent.VaultError",
    ),
    "identifies": (
        "ACLBindingRule.Selector",
        "ACLToken.AccessorID",
        "ACLToken.Name",
        "AllocatedPortMapping.HostIP",
        "Allocation.NodeID",
        "Allocation.NodeName",
        "AllocListStub.NodeID",
        "AllocMetric.Scores",
        "AllocListStub.NodeName",
        "AllocNetworkStatus.Address",
        "AllocNetworkStatus.AddressIPv6",
        "ClientHostNetworkConfig.CIDR",
        "ConsulGatewayBindAddress.Address",
        "ConsulIngressService.Hosts",
        "ConsulLinkedService.SNI",
        "ConsulProxy.LocalServiceAddress",
        "ConsulUpstream.LocalBindAddress",
        "CSINodeInfo.ID",
        "CSIPlugin.Controllers",
        "CSIPlugin.Nodes",
        "CSIVolumeClaim.ExternalNodeID",
        "CSIVolumeClaim.NodeID",
        "DNSConfig.Searches",
        "DNSConfig.Servers",
        "DrainMetadata.AccessorID",
        "DrainMetadata.Meta",
        "Evaluation.NodeID",
        "EvaluationStub.NodeID",
        "HostVolume.NodeID",
        "Job.NomadTokenID",
        "NetworkResource.CIDR",
        "NetworkResource.Hostname",
        "NetworkResource.IP",
        "Node.HTTPAddr",
        "Node.ID",
        "Node.Name",
        "NodeNetworkAddress.Address",
        "NodeNetworkAddress.Gateway",
        "NodeNetworkResource.MacAddress",
        "NodeScoreMeta.NodeID",
        "RescheduleEvent.PrevNodeID",
        "Service.Address",
        "Service.TaggedAddresses",
        "ServiceCheck.TLSServerName",
        "ServiceRegistration.Address",
        "ServiceRegistration.NodeID",
        "SidecarTask.User",
        "SITokenAccessor.AccessorID",
        "SITokenAccessor.NodeID",
        "Task.User",
        "VaultAccessor.Accessor",
        "VaultAccessor.NodeID",
    ),
    "free": (
        "ACLAuthMethod.TokenNameFormat",
        "ACLAuthMethodConfig.BoundAudiences",
        "ACLAuthMethodConfig.BoundIssuer",
        "ACLAuthMethodConfig.OIDCClientID",
        "ACLBindingRule.Description",
        "ACLPolicy.Description",
        "ACLPolicy.Rules",
        "ACLRole.Description",
        "Affinity.RTarget",
        "Allocation.ClientDescription",
        "Allocation.DesiredDescription",
        "Constraint.RTarget",
        "CSIInfo.HealthDescription",
        "Deployment.StatusDescription",
        "DriverInfo.HealthDescription",
        "Evaluation.StatusDescription",
        "Job.StatusDescription",
        "JobUIConfig.Description",
        "JobUILink.Label",
        "JobVersionTag.Description",
        "Namespace.Description",
        "Namespace.Meta",
        "Node.Attributes",
        "Node.Links",
        "Node.Meta",
        "Node.StatusDescription",
        "NodePool.Description",
        "NodePool.Meta",
        "ScalingEvent.Message",
        "ScalingEvent.Meta",
        "ScalingPolicy.Policy",
        "Service.CanaryMeta",
        "Service.CanaryTags",
        "Service.Meta",
        "Service.Tags",
        "ServiceCheck.Notes",
        "ServiceRegistration.Tags",
        "VariableEncrypted.Path",
    ),
}
SENSITIVE: Mapping[str, Sensitivity] = {place: kind for kind, places in _PLACES.items() for place in places}

#: What is masked unless it is asked for.
SECRETS = frozenset(place for place, kind in SENSITIVE.items() if kind in ("always", "may"))

#: What tells items of a list apart: struct -> field, unique in each list that people write.
LIST_NAMES: Mapping[str, str] = {
    "ACLRolePolicyLink": "Name",
    "ACLTokenRoleLink": "ID",
    "Action": "Name",
    "AllocListStub": "ID",
    "AllocatedPortMapping": "Label",
    "ConsulExposePath": "Path",
    "ConsulIngressService": "Name",
    "ConsulLinkedService": "Name",
    "ConsulUpstream": "DestinationName",
    "EvaluationStub": "ID",
    "JobUILink": "Label",
    "MultiregionRegion": "Name",
    "NodeDevice": "ID",
    "NodeDeviceResource": "Name",
    "Port": "Label",
    "RequestedDevice": "Name",
    "ScalingPolicy": "ID",
    "Secret": "Name",
    "Service": "Name",
    "ServiceCheck": "Name",
    "Spread": "Attribute",
    "SpreadTarget": "Value",
    "Task": "Name",
    "TaskGroup": "Name",
    "Template": "DestPath",
    "VolumeMount": "Destination",
    "WorkloadIdentity": "Name",
    "WrappedKey": "ProviderID",
}

#: Structs whose empty fields Nomad leaves out (`codec:",omitempty"`), so that a missing one says nothing.
OMIT_EMPTY = frozenset({"AllocatedPortMapping", "Allocation", "Evaluation", "NetworkResource", "Port", "VaultAccessor"})

#: EventSink stood in 1.0's pre-releases alone, and so not in nomad_types.json (Nomad 1.0.0-beta2: structs.EventSink).
_EVENT_SINK = {
    "ID": "string",
    "Type": "string",
    "Address": "string",
    "LatestIndex": "uint64",
    "CreateIndex": "uint64",
    "ModifyIndex": "uint64",
}


@dataclass(frozen=True, slots=True)
class Type:
    """A Go type as msgpack carries it.

    Attributes:
        kind: `string`, `bytes`, `bool`, `time`, `duration`, `any`, an integer or float type by its Go name,
            or `list`, `map` or `struct`.
        element: What a list or map holds.
        struct: The name of the struct.
    """

    kind: str
    element: Type | None = None
    struct: str = ""

    @property
    def nested(self) -> bool:
        return self.kind in ("list", "map", "struct", "any")


ANY = Type("any")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct.

    Attributes:
        name: Go's name, which is the key in msgpack.
        type: Its type in the newest release that has it.
        json: Its name in Nomad's JSON; None where that leaves it out.
        since: The first of `RELEASES` that has it ("" if all have it).
        last: The last of `RELEASES` that has it ("" if the newest has it).
        time_unit: "ns" or "s" if it is an integer that is a time, else "".
        sensitivity: Of the text in or below it, by `SENSITIVE`.
        secret: It is masked by default: `always` or `may`.
        text_duration: Nomad's JSON prints this duration as text.
    """

    name: str
    type: Type
    json: str | None
    since: str = ""
    last: str = ""
    time_unit: str = ""
    sensitivity: Sensitivity = ""
    secret: bool = False
    text_duration: bool = False


def parse_type(text: str) -> Type:
    """`map[string][]ScalingEvent?` as a Type. Whether it may be nil (`?`) does not matter to a reader: all may."""
    if text.startswith("[]"):
        return Type("list", parse_type(text[2:]))
    if text.startswith("map["):
        return Type("map", parse_type(text[text.index("]") + 1 :]))
    text = text.removesuffix("?")
    return Type("struct", struct=text) if text in _definitions()["structs"] else Type(text)


def _parse_field(struct: str, name: str, definition: str) -> Field:
    now, _, history = definition.partition("; ")
    now, _, json_name = now.partition(" (")
    in_json: str | None = name
    if json_name == "not in JSON)":
        in_json = None
    elif json_name:
        in_json = json_name.removeprefix("in JSON: ").removesuffix(")")
    since = re.search(r"since (\S+)", history)
    last = re.search(r"last in (\S+)", history)
    place = f"{struct}.{name}"
    return Field(
        name,
        parse_type(now),
        in_json,
        since=since[1] if since else "",
        last=last[1] if last else "",
        time_unit=INTEGER_TIMES.get(place, ""),
        sensitivity=SENSITIVE.get(place, ""),
        secret=place in SECRETS,
        text_duration=place in TEXT_DURATIONS,
    )


@cache
def _definitions() -> dict[str, dict[str, dict[str, str]]]:
    text = files(__package__).joinpath("nomad_types.json").read_text(encoding="utf-8")
    definitions: dict[str, dict[str, dict[str, str]]] = json.loads(text)
    definitions["structs"]["EventSink"] = _EVENT_SINK
    # In no release here, and masked should an old cluster hold one (the format guide, section 3).
    definitions["structs"]["VaultAccessor"]["Token"] = "string; last in 0.12.12"
    return definitions


@cache
def releases() -> tuple[str, ...]:
    """The releases that `Field.since` and `Field.last` name, oldest first."""
    return tuple(_definitions()["releases"])


_WORDS = {">=": "{} or newer", ">": "newer than {}", "<": "older than {}"}


def in_words(releases: str) -> str:
    """Releases that are given as a version specifier, for a person: `newer than 1.8.4, older than 1.10.5`."""
    told = []
    for part in releases.split(","):
        sign = next((sign for sign in _WORDS if part.startswith(sign)), "")
        told.append(_WORDS.get(sign, "{}").format(part.removeprefix(sign)))
    return ", ".join(told)


@cache
def fields(struct: str) -> Mapping[str, Field]:
    """The fields of a struct by name, from all releases known. Empty for a struct that is not known."""
    return {n: _parse_field(struct, n, d) for n, d in _definitions()["structs"].get(struct, {}).items()}


def columns(struct: str) -> Iterator[Field]:
    """The fields of a struct in the newest release known that are not nested: the columns of an empty table."""
    return (f for f in fields(struct).values() if not f.type.nested and not f.last)


def type_name(byte: int) -> str:
    """What `nomad operator snapshot inspect` calls a type byte."""
    return BY_BYTE[byte].name if byte in BY_BYTE else f"Unknown({byte})"


def record_type(byte: int) -> RecordType:
    """The record type of a type byte; one made up for the occasion if it is not known, without fields or key."""
    return BY_BYTE.get(byte) or RecordType(byte, type_name(byte), f"unknown_{byte}", "", (), "")


def index_row(table: str) -> str:
    """What the Index table calls one of our tables; empty if it does not list it."""
    return _INDEX_ROWS.get(table, table)


def table_type(table: str) -> RecordType | None:
    """The record type that a table holds, `unknown_<byte>` included; None if there is no such table."""
    if match := re.fullmatch(r"unknown_(\d{1,3})", table):
        byte = int(match[1])
        return record_type(byte) if byte < 256 and byte not in BY_BYTE else None
    return BY_TABLE.get(table)
