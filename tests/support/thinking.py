"""A template that thinks for any model, and what is heard of an answer with a thought."""

THINKS = """\
{%- for turn in messages %}{{ '<|im_start|>' + turn.role + '\\n' + turn.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}
{#- </think> #}"""
"""It opens a thought always, and the embedded model never closes it by itself."""
END = "\n</think>\n\n"
"""The end of a thought there."""
