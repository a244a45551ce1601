"""`python -m workers.llama`: whether llama.cpp finds a GPU here, as JSON.

For the gateway, which estimates memory before a worker starts and must not load llama.cpp itself.
"""

import json

from workers.llama.library import initialise
from workers.llama.loading import has_gpu

if __name__ == "__main__":
    initialise()
    print(json.dumps(has_gpu()))
