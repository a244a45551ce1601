"""`python -m workers.llama`: print as JSON if llama.cpp finds a GPU here.

For the gateway, which estimates memory before a worker starts and must not load llama.cpp itself.
"""

import json

from workers.llama.library import initialise
from workers.llama.loading import has_gpu

if __name__ == "__main__":
    initialise()
    print(json.dumps(has_gpu()))
