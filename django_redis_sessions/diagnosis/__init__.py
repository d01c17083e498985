"""What is wrong, or could be better, with how a site keeps its sessions?

Facts in, findings out: nothing here reads settings or speaks to a server. ``conf`` and ``examinations``
collect the facts, and the command, the system checks and ``sessions.diagnose()`` show the findings, so no
rule is written twice. Every id is a heading of the documentation's page "doctor".
"""

from django_redis_sessions.diagnosis.facts import DANGEROUS, Cache, Server, Site, Stored, cache_at
from django_redis_sessions.diagnosis.findings import Finding, Severity, together, worst
from django_redis_sessions.diagnosis.servers import eviction, of_server, of_servers
from django_redis_sessions.diagnosis.site import CHECKS, DEPLOY_CHECKS, of_problems, of_site
from django_redis_sessions.diagnosis.stored import of_stored

__all__ = [
    "CHECKS",
    "DANGEROUS",
    "DEPLOY_CHECKS",
    "Cache",
    "Finding",
    "Server",
    "Severity",
    "Site",
    "Stored",
    "cache_at",
    "eviction",
    "of_problems",
    "of_server",
    "of_servers",
    "of_site",
    "of_stored",
    "together",
    "worst",
]
