"""Dockerfile, docker-compose.yml and what they bring along."""
