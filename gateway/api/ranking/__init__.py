"""Ranking: a query and documents in, a score for each out, in the shapes of five other programs.

A body becomes pairs of texts (``bodies``), each of them a sequence of its own, and their scores
become the answer of the dialect (``answers``).
"""

from gateway.api.ranking.endpoints import RankingEndpoints as RankingEndpoints
