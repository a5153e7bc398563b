{# Marts land in `main`, so that analysts write `select * from momentum`; other layers in the schema they name. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
