"""The record types as data."""

from __future__ import annotations

import pytest

from snapkit.format.schema import (
    BY_BYTE,
    BY_TABLE,
    INTEGER_TIMES,
    SECRETS,
    TEXT_DURATIONS,
    TYPES,
    Type,
    columns,
    fields,
    parse_type,
    record_type,
    releases,
    table_type,
    type_name,
)

#: The format guide's table: byte, Nomad's name, our table, its key.
GUIDE = """
0 Node nodes ID
1 Job jobs Namespace,ID
2 Index indexes Key
3 Eval evals ID
4 Alloc allocs ID
5 TimeTable time_table -
6 PeriodicLaunch periodic_launches Namespace,ID
7 JobSummary job_summaries Namespace,JobID
8 VaultAccessor vault_accessors Accessor
9 JobVersion job_versions Namespace,ID,Version
10 Deployment deployments ID
11 ACLPolicy acl_policies Name
12 ACLToken acl_tokens AccessorID
13 SchedulerConfig scheduler_config -
14 ClusterMetadata cluster_metadata -
15 ServiceIdentityTokenAccessor si_token_accessors AccessorID
16 ScalingPolicy scaling_policies ID
17 CSIPlugin csi_plugins ID
18 CSIVolume csi_volumes Namespace,ID
19 ScalingEvents scaling_events Namespace,JobID
20 EventSink event_sinks ID
21 ServiceRegistration services ID
22 Variables variables Namespace,Path
23 VariablesQuota variables_quotas Namespace
24 RootKeyMeta root_key_meta KeyID
25 ACLRole acl_roles ID
26 ACLAuthMethod acl_auth_methods Name
27 ACLBindingRule acl_binding_rules ID
28 NodePool node_pools Name
29 JobSubmission job_submissions Namespace,JobID,Version
30 WrappedRootKeys root_keys KeyID
31 HostVolumeSnapshot host_volumes Namespace,ID
64 Namespace namespaces Name
"""


def test_all_33_types_are_as_the_format_guide_lists_them() -> None:
    rows = [line.split() for line in GUIDE.strip().splitlines()]
    assert len(rows) == 33
    ours = [[str(t.byte), t.name, t.table, ",".join(t.key) or "-"] for t in TYPES]
    assert ours == rows


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.table)
def test_every_type_has_a_struct_that_holds_its_key(kind: object) -> None:
    for record in TYPES:
        known = fields(record.struct)
        assert known
        assert set(record.key) <= known.keys()
        assert not any(known[name].type.nested or known[name].secret for name in record.key)
        assert list(columns(record.struct))


def test_what_the_lists_name_is_in_the_structs() -> None:
    for place in [*INTEGER_TIMES, *TEXT_DURATIONS, *SECRETS]:
        struct, _, field = place.rpartition(".")
        assert field in fields(struct), place


def test_a_type_not_known_is_listed_as_unknown() -> None:
    assert type_name(69) == "Unknown(69)"
    assert record_type(69).table == "unknown_69"
    assert table_type("unknown_69") == record_type(69)
    assert table_type("unknown_255") is not None
    for name in ("unknown_256", "unknown_0", "unknown_64", "unknown_", "unknown_-1", "unknown_6a", "Jobs", ""):
        assert table_type(name) is None, name


def test_bytes_and_tables_are_each_there_once() -> None:
    assert len(BY_BYTE) == len(BY_TABLE) == len(TYPES)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("string", Type("string")),
        ("string?", Type("string")),
        ("[]string", Type("list", Type("string"))),
        ("map[string]any", Type("map", Type("any"))),
        ("map[string][]ScalingEvent?", Type("map", Type("list", Type("struct", struct="ScalingEvent")))),
        ("map[string]map[string]JobDescription", Type("map", Type("map", Type("struct", struct="JobDescription")))),
        ("ACLAuthMethodConfig?", Type("struct", struct="ACLAuthMethodConfig")),
        ("v2.BlobInfo?", Type("struct", struct="v2.BlobInfo")),
    ],
)
def test_types_are_parsed(text: str, kind: Type) -> None:
    assert parse_type(text) == kind


def test_fields_know_their_history_and_their_name_in_json() -> None:
    assert releases()[0] == "0.12.12"
    assert releases()[-1] == "2.0.5"
    drain, pool = fields("Node")["Drain"], fields("Node")["NodePool"]
    assert (drain.since, drain.last) == ("", "1.0.18")
    assert (pool.since, pool.last) == ("1.6.2", "")
    assert "Drain" not in [f.name for f in columns("Node")]
    assert fields("v2.BlobInfo")["Hmac"].json == "hmac"
    assert fields("CSIVolume")["WriteClaims"].json is None
    assert fields("no such struct") == {}
