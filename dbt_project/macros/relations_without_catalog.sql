{#
    A DuckDB catalog is named after its file. A view that names the catalog breaks as soon as the file is renamed or
    attached under another name ('Catalog "x" does not exist'), so views name schema and table only.
#}
{% macro ref() %}
    {% do return(builtins.ref(*varargs, **kwargs).include(database=false)) %}
{% endmacro %}

{% macro source() %}
    {% do return(builtins.source(*varargs, **kwargs).include(database=false)) %}
{% endmacro %}
