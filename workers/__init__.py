"""The compute side of Forge: processes that run llama.cpp and know nothing of HTTP or asyncio."""
