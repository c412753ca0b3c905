"""Chat templates with the constructs that published ones use, rendered by transformers (jinja2).

    python tests/golden/gen/templates.py > tests/golden/templates.json

transformers 4.57 and 5 give the same file. The date of `strftime_now` is 2024-07-26.
"""

import datetime
import json

from transformers.utils import chat_template_utils


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


chat_template_utils.datetime = FixedDate

TALK = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "What is 2+2?\n"},
    {"role": "assistant", "content": "<think>\nadd\n</think>\n\nIt is 4."},
    {"role": "user", "content": "And 3+3? ü😀 \"quoted\" <b>"},
]
SHORT = [{"role": "user", "content": "hi"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds ü.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number", "default": 1e-05}},
            "required": ["a"],
        },
    },
}

LOOP = "{% for m in messages %}"
CASES = {
    # Frames of the large families.
    "chatml": LOOP + "{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "default system": "{%- if messages[0].role != 'system' %}{{- 'You are a bot.\n' }}{%- else %}{{- messages[0].content|trim + '\n' }}{%- set messages = messages[1:] %}{%- endif %}{{ messages|length }}",
    "alternation": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "thinking is dropped": LOOP + "{%- if m.role == 'assistant' and '</think>' in m.content %}{{- m.content.split('</think>')[-1].lstrip('\n') }}{%- else %}{{- m.content }}{%- endif %}|{%- endfor %}",
    "last query": "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.multi_step_tool and message.role == \"user\" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}{{ ns.last_query_index }}",
    "enable_thinking": "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}",
    "tools in xml": "{%- if tools %}{{- '# Tools\n<tools>' }}{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}{{- '\n</tools>' }}{%- else %}{{- 'no tools' }}{%- endif %}",
    "tools, indented": "{% for t in tools %}{{ t | tojson(indent=4) }}\n{% endfor %}",
    "tools, options": "{% for t in tools %}{{ t | tojson(ensure_ascii=True) }}{{ t | tojson(sort_keys=True) }}{{ t | tojson(separators=(',', ':')) }}{% endfor %}",
    "tools, typed": "{%- macro render(spec, depth=0) -%}{%- if spec.type == 'object' -%}{ {%- for key, value in spec.properties.items() -%}{{ '\n' + '  ' * (depth + 1) + key }}{% if key not in spec.required %}?{% endif %}: {{ render(value, depth + 1) }}{%- if value.default is defined %} // {{ value.default }}{% endif %}{%- if not loop.last %},{% endif %}{%- endfor -%}{{ '\n' }}}{%- else -%}{{ spec.type }}{%- endif -%}{%- endmacro -%}{% for t in tools %}{{ t.function.name }}: {{ render(t.function.parameters) }}{% endfor %}",
    "date": "{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now(\"%d %b %Y\") %}{%- else %}{%- set date_string = \"26 Jul 2024\" %}{%- endif %}{%- endif %}{{- \"Today Date: \" + date_string + \"\\n\\n\" }}",
    "date, microseconds": "{{ strftime_now('%H:%M:%S.%f %e %j') }}",
    "date, written out": "{{ strftime_now('%B %d, %Y') }} {{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%A') }}",
    # What trainers mark.
    "generation": LOOP + "{% if m.role == 'assistant' %}{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "generation, trimmed": LOOP + "\n  {%- if m.role == 'assistant' %}\n    {%- generation %}\n    {{- m.content }}\n    {%- endgeneration %}\n  {%- else %}\n    {{- m.content }}\n  {%- endif %}\n{%- endfor %}",
    "generation has a scope": "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    # Tests.
    "none": "{{ none is iterable }} {{ tools is iterable }} {{ 'ab' is iterable }} {{ messages is iterable }} {{ 3 is iterable }} {{ nothing is iterable }}",
    "kinds": "{{ 'a' is string }} {{ messages is sequence }} {{ messages[0] is mapping }} {{ 3 is number }} {{ 3.5 is float }} {{ 3 is integer }} {{ true is boolean }} {{ none is none }} {{ x is undefined }} {{ 'a' is sequence }} {{ messages[0] is iterable }}",
    "comparing": "{{ 3 is odd }} {{ 3 is divisibleby 3 }} {{ 'a' is eq 'a' }} {{ 1 is in [1, 2] }} {{ 'x' is lower }} {{ false is sameas false }} {{ 2 is gt 1 }}",
    # Values as text.
    "literals": "{{ true }} {{ false }} {{ none }} {{ 1 }} {{ 1.0 }} {{ 1e-7 }} {{ [1, 'a', none, true] }} {{ {'k': 'v', 'n': [1.5]} }} {{ ('a', 1) }}",
    "arithmetic": "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ 2 ** 5 }} {{ 7 / 2 }} {{ 1 + 2 * 3 }} {{ '=' * 5 }} {{ 'a' ~ 1 ~ none }}",
    "formatting": "{{ '%.2f' | format(1.5) }} {{ '{} and {}'.format('a', 2) }} {{ '{n:>4}'.format(n=3) }}",
    "slices": "{{ messages[1:3] | length }} {{ messages[-1].role }} {{ 'abcdef'[1:-1] }} {{ 'abcdef'[::-1] }} {{ [1,2,3,4][::2] }} {{ 'abc'[0] }}",
    "ternary": "{{ 'a' if messages else 'b' }}{{ 'c' if tools }}{{ x or 'd' }}{{ not x and 'e' }}",
    # Filters.
    "text filters": "{{ ' x ' | trim }}|{{ 'ab' | upper }}|{{ 'AB' | lower }}|{{ 'ab cd' | title }}|{{ 'ab' | capitalize }}|{{ 'a-b' | replace('-', '+') }}|{{ 'a\nb' | indent(2) }}|{{ 'a\nb' | indent(2, first=true) }}|{{ '<a>' | safe }}|{{ 'ab' | list }}|{{ 'abc' | first }}{{ 'abc' | last }}",
    "list filters": "{{ [3,1,2] | sort }} {{ [3,1,2] | max }} {{ [3,1,2] | min }} {{ [3,1,2] | sum }} {{ [1,1,2] | unique | list }} {{ [1,2,3] | reverse | list }} {{ ['a','b'] | join(', ') }} {{ [1,2,3,4,5] | batch(2) | list }} {{ [[1,2],[3]] | map('length') | list }}",
    "map and select": "{{ messages | map(attribute='role') | list }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'eq', 'user') | map(attribute='role') | join('+') }} {{ ['a', '', 'b'] | select | list }} {{ messages | selectattr('missing') | list }} {{ (messages | selectattr('role', 'in', ['user']) | first).role }}",
    "numbers": "{{ '3' | int + 1 }} {{ '2.5' | float }} {{ 2.567 | round(2) }} {{ 3 | string + 'x' }} {{ -3 | abs }} {{ 'x' | int(7) }}",
    "defaults": "{{ x | default('d') }} {{ none | default('d', true) }} {{ '' | d('e', true) }} {{ messages[0].missing | default('f') }} {{ messages[0].get('missing', 'g') }}",
    "dicts": "{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}={{ v }};{% endfor %}{{ {'b': 1, 'a': 2} | dictsort }}{{ {'b': 1}.keys() | list }}{{ {'b': 1} | items | list }}{{ dict(a=1, b=2) }}{{ 'a' in {'a': 1} }}{{ {'a': {'b': 3}}.a.b }}",
    "group": "{% for key, group in messages | groupby('role') %}{{ key }}:{{ group | length }} {% endfor %}",
    # Loops.
    "loop variables": "{% for x in [1,2,3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem is defined }}{{ loop.nextitem | default('-') }}{{ loop.cycle('a', 'b') }} {% endfor %}",
    "loop, filtered": "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content | length }} {% else %}none{% endfor %}{% for m in [] %}x{% else %}empty{% endfor %}",
    "break and continue": "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "ranges": "{{ range(3) | list }} {{ range(1, 8, 3) | list }} {% for i in range(messages | length - 1, -1, -1) %}{{ i }}{% endfor %}",
    "unpacking": "{% set a, b = 'x', 'y' %}{{ a }}{{ b }}{% for i, (j, k) in [(1, (2, 3))] %}{{ i + j + k }}{% endfor %}",
    # Scopes.
    "set block": "{% set text %}a {{ messages[0].role }}{% endset %}{{ text | upper }}{% set text | trim %}  b  {% endset %}[{{ text }}]",
    "scope of loops": "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}{% if true %}{% set x = 3 %}{% endif %}{{ x }}",
    "with": "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "macros": "{% macro f(a, b='x', c=none) %}{{ a }}{{ b }}{{ c is none }}{% endmacro %}{{ f(1) }} {{ f(1, c=2) }} {{ f(b='q', a=0) }}{% macro g() %}<{{ caller() }}>{% endmacro %}{% call g() %}in{% endcall %}",
    "filter block": "{% filter upper %}ab{% endfilter %}",
    # Methods of Python.
    "strip": "{{ ' x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ ' x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ '\n\nx'.lstrip('\n') }}",
    "split": "{{ 'a b  c'.split() }} {{ 'a,b,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b '.rsplit() }} {{ 'a\nb'.splitlines() }} {{ 'k=v=w'.partition('=') }} {{ 'k=v=w'.rpartition('=') }}",
    "affixes": "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removesuffix('x') }}",
    "searching": "{{ 'abcabc'.find('c') }} {{ 'abc'.find('x') }} {{ 'abcabc'.rfind('c') }} {{ 'abcabc'.count('b') }} {{ 'übc'.index('c') }} {{ 'abc'.replace('b', '') }} {{ [5, 6].index(6) }}",
    "cases": "{{ 'aB'.upper() }}{{ 'aB'.lower() }}{{ 'ab cd'.title() }}{{ 'ab'.capitalize() }}{{ 'aB'.swapcase() }}{{ '12'.isdigit() }}{{ 'ab'.isalpha() }}{{ 'a1'.isalnum() }}{{ ' '.isspace() }}{{ 'A'.isupper() }}",
    "widths": "{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ ', '.join(['a', 'b']) }} {{ 'a'.center(5, '*') }}",
    "split, by name": "{{ 'a,b,c'.split(sep=',', maxsplit=1) }} {{ ' a b '.rsplit(none, 1) }} {{ 'a b c '.split(none, 1) }} {{ 'x\\x0by\\x0cz'.splitlines() }} {{ 'a\\nb'.splitlines(true) }}",
    "parts of a text": "{{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abcabc'.find('a', 1) }} {{ 'abc'.find('c', 0, -1) }} {{ 'abcabc'.count('b', 2) }} {{ [1, 2].copy() }} {{ '12'.isdecimal() }}",
    "title by letters": "{{ \"they're bill's 3rd o'neil\".title() }} {{ \"they're bill's\" | title }}",
    "arguments by name": "{{ none | default('x', boolean=true) }} {{ x | d(default_value='q') }} {{ 'z' | default(1) }} {{ 'ff' | int(base=16) }} {{ 'z' | int }} {{ '1_000' | int }} {{ ' 42 ' | int }} {{ '2.9' | int }} {{ 'z' | float }} {{ none | int(default=3) }} {{ true | int }}",
    "json, by place": "{{ {'é': [1]} | tojson(true, 2) }} {{ [1, [2]] | tojson(indent='\t') }} {{ [3] | tojson(indent=0) }} {{ {1: 2, none: 3, 2.5: true} | tojson }}",
    "sequences": "{{ x is sequence }} {{ x is iterable }} {{ debug is defined }}",
    "escapes": "{{ '\\U0001F600\\u00e9\\x41\\v\\a' | tojson }} {{ '\\d' }}",
    "generation is text": "{% raw %}{% generation %}{% endraw %}{{ '{% generation %}' }}{# {% generation %} #}",
    "line ends": "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\nc\rd",
    # White space and comments.
    "blocks leave no lines": "{% if true %}\na\n{% endif %}\n  {% if true %}\nb\n  {% endif %}\nc",
    "comments": "a{# comment #}b\n{#- trimmed -#}\nc",
    "raw": "{% raw %}{{ x }}{% endraw %}{{ '{{' }}",
    "plus keeps": "a\n  {%+ if true %}b{% endif +%}\nc",
    # Tokens.
    "tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{% if unk_token %}x{% endif %}",
}

VARIABLES = {
    "enable_thinking": {"enable_thinking": False},
    "tools in xml": {"tools": [TOOL]},
    "tools, indented": {"tools": [TOOL]},
    "tools, options": {"tools": [TOOL]},
    "tools, typed": {"tools": [TOOL]},
}


def render(template, messages, variables):
    variables = dict(variables)
    tools = variables.pop("tools", None)
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    rendered = chat_template_utils.render_jinja_template(
        conversations=[messages],
        tools=tools,
        chat_template=template,
        add_generation_prompt=True,
        **tokens,
        **variables,
    )
    return rendered[0][0]


if __name__ == "__main__":
    cases = []
    for name, template in CASES.items():
        for messages in [TALK, SHORT]:
            variables = VARIABLES.get(name, {})
            expected = render(template, messages, variables)
            case = {"name": name, "template": template, "messages": messages}
            cases.append(case | {"variables": variables, "expected": expected})
    print(json.dumps(cases, indent=1, ensure_ascii=False))
