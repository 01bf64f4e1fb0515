"""Computes the shard value that a run belongs to."""

from __future__ import annotations


def fnv1a32(text: str) -> int:
    """Returns the 32-bit FNV-1a hash of the text's UTF-8 bytes."""
    digest = 0x811C9DC5
    for byte in text.encode():
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return digest


def shard_value(workflow_name: str, run_id: str, shard_count: int) -> str:
    """Returns ``"<workflow>_<k>"``, where k is the 32-bit FNV-1a hash of the run id's text modulo the shard count."""
    return f"{workflow_name}_{fnv1a32(run_id) % shard_count if shard_count > 1 else 0}"


def shard_values(workflow_name: str, shard_count: int) -> list[str]:
    """Returns all shard values of a workflow, in order."""
    return [f"{workflow_name}_{index}" for index in range(max(shard_count, 1))]
