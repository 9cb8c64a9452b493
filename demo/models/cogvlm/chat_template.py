"""CogVLM's and CogAgent's prompt formats as Jinja templates, in the form that transformers keeps beside a processor.

With a picture, CogVLM's `template_version` chooses: "chat" (Question, Answer), "vqa" (Question, Short answer) or "base"
(the last question alone). Without one, it falls back on the dialogue format of the language model it was built from.
CogAgent always has a picture, and one format more: its "chat" marks questions, and what CogVLM calls so is "chat_old".
The places of a picture are not text: the processor puts them before it. No special token is ever written here;
CogAgent's <EOI> is none, but letters that its tokenizer takes apart.
"""

from __future__ import annotations

_WORDS = """
{%- macro words(content) -%}
  {%- if content is string -%}{{ content }}
  {%- else -%}{%- for part in content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- set version = template_version | default('chat') -%}"""

CHAT_TEMPLATE = (
    _WORDS
    + """
{%- if version not in ['chat', 'vqa', 'base'] -%}
  {{- raise_exception('template_version must be chat, vqa or base, not ' ~ version) -}}
{%- endif -%}
{%- set found = namespace(picture=false, system='', last='', turns=0) -%}
{%- for message in messages -%}
  {%- if message.role == 'system' -%}{%- set found.system = words(message.content) -%}{%- endif -%}
  {%- if message.role == 'user' -%}{%- set found.last = words(message.content) -%}{%- endif -%}
  {%- if message.content is not string -%}
    {%- for part in message.content if part.type == 'image' -%}{%- set found.picture = true -%}{%- endfor -%}
  {%- endif -%}
{%- endfor -%}
{%- if not found.picture -%}
  {%- set question, answer = 'USER: ', ' ASSISTANT:' -%}
  {{- found.system or "A chat between a curious user and an artificial intelligence assistant. "
      ~ "The assistant gives helpful, detailed, and polite answers to the user's questions." }}{{ ' ' -}}
{%- else -%}
  {%- set question, answer = 'Question: ', ' Short answer:' if version == 'vqa' else ' Answer:' -%}
  {{- found.system ~ '\\n' if found.system else '' -}}
{%- endif -%}
{%- if found.picture and version == 'base' -%}
  {{- found.last -}}
{%- else -%}
  {%- for message in messages if message.role != 'system' -%}
    {%- if message.role == 'user' -%}
      {{- '\\n' if found.turns else '' }}{{ question }}{{ words(message.content) -}}
      {%- set found.turns = found.turns + 1 -%}
    {%- else -%}
      {{- answer }}{{ ' ' }}{{ words(message.content) -}}
    {%- endif -%}
  {%- endfor -%}
  {{- answer if add_generation_prompt else '' -}}
{%- endif -%}
"""
)

COGAGENT_CHAT_TEMPLATE = (
    _WORDS
    + """
{%- if version not in ['chat', 'chat_old', 'vqa', 'base'] -%}
  {{- raise_exception('template_version must be chat, chat_old, vqa or base, not ' ~ version) -}}
{%- endif -%}
{%- set found = namespace(system='', last='', turns=0) -%}
{%- for message in messages -%}
  {%- if message.role == 'system' -%}{%- set found.system = words(message.content) ~ '\\n' -%}{%- endif -%}
  {%- if message.role == 'user' -%}{%- set found.last = words(message.content) -%}{%- endif -%}
{%- endfor -%}
{%- if version == 'base' -%}
  {{- found.system }}{{ found.last -}}
{%- elif version == 'vqa' -%}
  {{- '<EOI>' ~ found.system ~ 'Question: ' ~ found.last ~ ' Short answer:' -}}
{%- elif version == 'chat_old' -%}
  {{- '<EOI>' ~ found.system -}}
  {%- for message in messages if message.role != 'system' -%}
    {%- if message.role == 'user' -%}
      {{- '\\n' if found.turns else '' }}{{ 'Question: ' ~ words(message.content) ~ ' Answer:' -}}
      {%- set found.turns = found.turns + 1 -%}
    {%- else -%}
      {{- ' ' ~ words(message.content) -}}
    {%- endif -%}
  {%- endfor -%}
{%- else -%}
  {%- for message in messages if message.role != 'system' -%}
    {%- if message.role == 'user' -%}
      {{- ' [INST] ' ~ ('' if found.turns else found.system) ~ words(message.content) ~ ' [/INST] ' -}}
      {%- set found.turns = found.turns + 1 -%}
    {%- else -%}
      {{- words(message.content) -}}
    {%- endif -%}
  {%- endfor -%}
{%- endif -%}
"""
)
