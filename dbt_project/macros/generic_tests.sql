{# Rows that share all the columns named: the grain of a model. Gives one row per repeated key. #}
{% test unique_combination(model, columns) %}
select
    {{ columns | join(", ") }},
    count(*) as n_rows
from {{ model }}
group by {{ columns | join(", ") }}
having count(*) > 1
{% endtest %}

{# Values outside [at_least, at_most]; an end that is left out is open, and nulls pass. #}
{% test in_range(model, column_name, at_least=none, at_most=none) %}
select *
from {{ model }}
where
    {% if at_least is not none %}{{ column_name }} < {{ at_least }}{% else %}false{% endif %}
    or {% if at_most is not none %}{{ column_name }} > {{ at_most }}{% else %}false{% endif %}
{% endtest %}

{# Rows for which a condition over the model's columns does not hold; an unknown (null) passes. #}
{% test holds(model, condition) %}
select *
from {{ model }}
where not ({{ condition }})
{% endtest %}

{# Ids that the other model does not know within the same flywheel: ids are unique per flywheel, not across. What is named
   may be of an earlier cycle when `across_cycles` is said. #}
{% test known_in(model, column_name, to, field, across_cycles=false) %}
select child.*
from {{ model }} as child
left join {{ whole(to) if across_cycles else to }} as parent
    on child.flywheel = parent.flywheel and child.{{ column_name }} = parent.{{ field }}
where child.{{ column_name }} is not null and parent.{{ field }} is null
{% endtest %}
