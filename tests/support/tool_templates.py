"""Chat templates that know tools, as the well-known families write them: ours, in their manner."""

from workers.forge_tiny.rendering import source

_TURNS = """\
{%- for message in messages %}
    {%- if message.role in ['user', 'system'] %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
"""
_PROMPT = """\
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

QWEN = (
    """\
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\nAnswer with:\\n<tool_call>\\n\
{\\"name\\": <name>, \\"arguments\\": <object>}\\n</tool_call><|im_end|>\\n" }}
{%- endif %}
"""
    + _TURNS
    + """\
    {%- elif message.role == 'assistant' %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {{- '<|im_start|>assistant\\n' + content }}
        {%- for tool_call in message.tool_calls %}
            {%- if (loop.first and content) or not loop.first %}{{- '\\n' }}{%- endif %}
            {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- elif enable_thinking is defined %}{{- '<think>\\n' }}
    {%- endif %}
{%- endif %}
"""
)
"""As Qwen 3: it adds to the content, which must not be none, and thinks if asked to."""

LLAMA = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|tail|>\\n\\n' }}
        {%- if loop.first and tools is not none %}
            {{- 'Respond with {"name": function, "parameters": arguments}.\\n' }}
            {%- for t in tools %}{{- t | tojson(indent=4) }}{{- '\\n' }}{%- endfor %}
        {%- endif %}
        {{- message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception('one tool call at a time') }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|head|>assistant<|tail|>\\n\\n{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- '}<|eot|>' }}
    {%- else %}
        {{- '<|head|>ipython<|tail|>\\n\\n' + message.content | tojson + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|tail|>\\n\\n' }}{%- endif %}
"""
"""As Llama 3: one call in a turn, nothing beside it, and the roles' names asked for by key."""

_MISTRAL_START = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if tools is not none and loop.last %}
            {{- '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST]' + message.content + '[/INST]' }}
    {%- elif message.role == 'tool' %}
        {%- if not message.tool_call_id is defined or message.tool_call_id | length != 9 %}
            {{- raise_exception('ids have a length of 9') }}
        {%- endif %}
        {{- '[TOOL_RESULTS]' + message.content + '[/TOOL_RESULTS]' }}
"""
MISTRAL = (
    _MISTRAL_START
    + """\
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- '[TOOL_CALLS][' }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function | tojson %}
            {{- out[:-1] }}
            {%- if tool_call.id | length != 9 %}
                {{- raise_exception('ids have a length of 9') }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' + (']' if loop.last else ', ') }}
        {%- endfor %}
        {{- eos_token }}
    {%- else %}
        {{- message.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""
)
"""As Mistral's first with tools: a list of calls, ids of nine characters."""

MISTRAL_ARGS = (
    _MISTRAL_START
    + """\
    {%- else %}
        {{- message.content }}
        {%- for call in message.tool_calls or [] %}
            {%- set arguments = call.function.arguments %}
            {%- if arguments is not string %}{%- set arguments = arguments | tojson %}{%- endif %}
            {{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + arguments }}
        {%- endfor %}
        {{- eos_token }}
    {%- endif %}
{%- endfor %}
"""
)
"""As Mistral's later ones."""

FUNCTION_TAG = (
    """\
{%- if tools %}
    {{- '<|im_start|>system\\nAnswer with <function=name>{arguments}</function>:' }}
    {%- for tool in tools %}{{- '\\n' + tool.function | tojson }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
"""
    + _TURNS
    + """\
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>ipython\\n' + message.name + ': ' + message.content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>assistant\\n' + (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {{- '<function=' + call.function.name + '>' + call.function.arguments + '</function>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
"""
    + _PROMPT
)
"""As Functionary 3.1: arguments as a string, results by their function's name."""

FIREFUNCTION = (
    """\
{%- set told = '\\nFunctions:\\n' + functions + '\\nToday is ' + datetime + '.' %}
{{- '<|im_start|>system\\nAnswer with functools[calls].' + told + '<|im_end|>\\n' }}
"""
    + _TURNS
    + """\
    {%- elif message['role'] == 'tool' %}
        {{- '<|im_start|>tool\\n' + message['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>assistant\\n' + message['content'] }}
        {%- if message['tool_calls'] %}{{- ' functools[' }}{%- endif %}
        {%- for call in message['tool_calls'] or [] %}
            {{- '{"name": "' + call['function']['name'] + '", "arguments": ' }}
            {{- call['function']['arguments'] | tojson + ('}]' if loop.last else '}, ') }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
"""
    + _PROMPT
)
"""As Firefunction: the tools are a text, whether there are some or not, and the date is wanted."""

FUNCTIONARY = (
    """\
{%- if tools %}
    {{- '<|im_start|>system\\n' + tools | tojson + '<|im_end|>\\n' }}
{%- endif %}
"""
    + _TURNS
    + """\
    {%- elif message['role'] == 'tool' %}
        {{- '<|im_start|>tool\\n' + message['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if message['content'] %}{{- '>>>all\\n' + message['content'] }}{%- endif %}
        {%- for call in message['tool_calls'] or [] %}
            {{- '>>>' + call['function']['name'] + '\\n' + call['function']['arguments'] }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n>>>' }}{%- endif %}
"""
)
"""As Functionary 3.2: every piece has a recipient."""

_MARKS = """\
{%- set begin = '<\uff5ctool\u2581calls\u2581begin\uff5c>' %}
{%- set end = '<\uff5ctool\u2581calls\u2581end\uff5c>' %}
{%- set call_begin = '<\uff5ctool\u2581call\u2581begin\uff5c>' %}
{%- set call_end = '<\uff5ctool\u2581call\u2581end\uff5c>' %}
{%- set sep = '<\uff5ctool\u2581sep\uff5c>' %}
"""
DEEPSEEK = (
    _MARKS
    + """\
{%- if tools %}{{- '## Tools\\n' + tools | tojson + '\\n' }}{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'assistant' and message['content'] is none %}
        {{- '<A>' + begin }}
        {%- for tool in message['tool_calls'] %}
            {{- call_begin + tool['function']['name'] + sep + tool['function']['arguments'] }}
            {{- call_end }}
        {%- endfor %}
        {{- end + eos_token }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<A>' + message['content'].split('</think>')[-1] + eos_token }}
    {%- elif message['role'] == 'tool' %}
        {{- '<R>' + message['content'] }}
    {%- else %}
        {{- '<U>' + message['content'] }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<A><think>\\n' }}{%- endif %}
"""
)
"""As DeepSeek: calls are looked for where the content is none; the prompt opens a thought."""

DEEPSEEK_FENCED = DEEPSEEK.replace(
    "call_begin + tool['function']['name'] + sep + tool['function']['arguments']",
    "call_begin + 'function' + sep + tool['function']['name'] + '\\n```json\\n' + "
    "tool['function']['arguments'] + '\\n```'",
).replace("{%- endfor %}\n        {{- end", "{{- '\\n' if not loop.last }}{%- endfor %}{{- end")

PHI = (
    """\
{%- if tools %}{{- '<|tool|>' + tools | tojson + '<|/tool|>' }}{%- endif %}
"""
    + _TURNS
    + """\
    {%- elif message.role == 'tool' %}
        {{- '<|tool_response|>' + message.content + '<|end|>' }}
    {%- elif message.tool_calls %}
        {{- '<|tool_call|>[' }}
        {%- for call in message.tool_calls %}
            {{- call.function | tojson + ('' if loop.last else ', ') }}
        {%- endfor %}
        {{- ']<|/tool_call|>' }}
    {%- else %}
        {{- message.content }}
"""
    + _PROMPT
)
"""As Phi 4 mini."""

HARMONY = """\
{%- if tools %}{{- '<|start|>developer<|message|>' + tools | tojson + '<|end|>' }}{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start|>assistant<|channel|>commentary to=functions.' + call.name }}
        {{- ' <|constrain|>json<|message|>' + call.arguments | tojson + '<|call|>' }}
    {%- elif message.role == 'assistant' %}
        {#- a thought would be in the channel 'analysis' -#}
        {{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}
    {%- elif message.role == 'tool' %}
        {{- '<|start|>functions.' + message.name + ' to=assistant<|channel|>commentary' }}
        {{- '<|message|>' + message.content + '<|end|>' }}
    {%- else %}
        {{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- set channels = ['analysis', 'commentary', 'final'] %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}
"""
"""As gpt-oss: a channel for each kind of chat_format."""

TEMPLATES = {
    "forge-tiny": source(),
    "qwen": QWEN,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "mistral-args": MISTRAL_ARGS,
    "firefunction": FIREFUNCTION,
    "function-tag": FUNCTION_TAG,
    "functionary": FUNCTIONARY,
    "deepseek": DEEPSEEK,
    "deepseek-fenced": DEEPSEEK_FENCED,
    "phi": PHI,
    "harmony": HARMONY,
}
