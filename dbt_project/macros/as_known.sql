{# What was known at an instant, and what a correction changed. #}

{% macro performance_functions() %}
{{ table_function(
    "outputs_as_known",
    "known_on",
    "Every published output and metric as a close with that knowledge_cutoff would have measured it. A date is its first instant, UTC.",
    outputs_as_known_query()
) }}
{{ table_function(
    "performance_as_known",
    "known_on",
    "The mart performance as it stood at an instant: weekly values per arm and metric, from what was recorded by then. A date is its first instant, UTC.",
    performance_as_known_query()
) }}
{% endmacro %}

{# Both are ranges of instants in tables, so that a question about the past adds nothing up. #}
{% macro outputs_as_known_query() %}
with

cutoff as (
    select {{ as_instant("known_on") }} as instant
)

select
    known.flywheel,
    known.cycle,
    known.output_id,
    known.metric,
    known.numerator,
    known.exposure,
    case when known.exposure > 0 then known.numerator / known.exposure end as value,
    known.n_reports,
    coalesce(instants.matured_at <= cutoff.instant, false) as is_mature,
    known.known_at
from {{ whole(ref('int_outputs_known')) }} as known
cross join cutoff
left join {{ whole(ref('int_cycle_instants')) }} as instants
    on known.flywheel = instants.flywheel and known.cycle = instants.cycle
where known.known_from <= cutoff.instant and (known.known_until is null or known.known_until > cutoff.instant)
order by all
{% endmacro %}

{% macro performance_as_known_query() %}
with

cutoff as (
    select {{ as_instant("known_on") }} as instant
)

select
    known.flywheel,
    known.cycle,
    known.arm,
    known.metric,
    known.n_outputs,
    known.numerator,
    known.exposure,
    known.numerator / nullif(known.exposure, 0) as value,
    coalesce(instants.matured_at <= cutoff.instant, false) as is_mature,
    known.known_at
from {{ whole(ref('int_performance_known')) }} as known
cross join cutoff
left join {{ whole(ref('int_cycle_instants')) }} as instants
    on known.flywheel = instants.flywheel and known.cycle = instants.cycle
where known.known_from <= cutoff.instant and (known.known_until is null or known.known_until > cutoff.instant)
order by all
{% endmacro %}

{% macro corpus_functions() %}
{{ table_function(
    "corpus_as_known",
    "known_on",
    "The references in force at an instant: those of the prompt that the newest cycle was opened with by then, or of the last close once its newest feedback was recorded. A date is its first instant, UTC.",
    corpus_as_known_query()
) }}
{% endmacro %}

{% macro corpus_as_known_query() %}
with

cutoff as (
    select {{ as_instant("known_on") }} as instant
)

select
    known.flywheel,
    known.cycle,
    known.corpus_version,
    known.reference_id,
    known.segment,
    known.text,
    known.rank,
    known.known_by,
    known.known_from
from {{ whole(ref('int_corpus_known')) }} as known
cross join cutoff
where known.known_from <= cutoff.instant and (known.known_until is null or known.known_until > cutoff.instant)
order by known.flywheel, known.rank, known.reference_id
{% endmacro %}

{% macro restatement_functions() %}
{{ table_function(
    "what_if_corrected",
    "of_cycle",
    "Each judged output of a cycle as its first close knew it and as it is known now, and what would have been otherwise had it been known from the start.",
    what_if_corrected_query()
) }}
{% endmacro %}

{% macro what_if_corrected_query() %}
with

compared as (
    select
        outputs.flywheel,
        outputs.cycle,
        outputs.output_id,
        outputs.segment,
        outputs.floor_metric as metric,
        if(metrics.output_id is null, outputs.observed_value, metrics.first_value) as first_value,
        outputs.observed_value as value,
        if(metrics.output_id is null, outputs.exposure, metrics.first_exposure) as first_exposure,
        outputs.exposure,
        if(decisions.output_id is null, outputs.decision, decisions.first_decision) as first_decision,
        outputs.decision,
        outputs.n_times_used_as_reference
    from {{ whole(ref('outputs')) }} as outputs
    left join {{ whole(ref('int_first_known')) }} as metrics
        on
            outputs.flywheel = metrics.flywheel
            and outputs.cycle = metrics.cycle
            and outputs.output_id = metrics.output_id
            and outputs.floor_metric = metrics.metric
            and metrics.subject = 'metric'
    left join {{ whole(ref('int_first_known')) }} as decisions
        on
            outputs.flywheel = decisions.flywheel
            and outputs.cycle = decisions.cycle
            and outputs.output_id = decisions.output_id
            and decisions.subject = 'decision'
    where outputs.cycle = of_cycle::date and outputs.decision is not null
)

select
    *,
    case
        when first_decision is not distinct from decision then 'the same'
        when decision = 'promote' then 'a reference candidate from the first close on'
        when first_decision = 'promote' and n_times_used_as_reference > 0
            then 'not shown to the outputs that were written with it'
        when first_decision = 'promote' then 'no reference candidate'
        else 'not promoted either way'
    end as what_if
from compared
order by flywheel, output_id
{% endmacro %}
