{# What became of outputs as references changes with every close, also for those of cycles that nothing else touched. #}
{% macro references_as_of_now() %}
{% if is_incremental_publish() %}
update {{ this }} as outputs set
    is_reference = now.is_reference,
    reference_since = now.reference_since,
    n_times_used_as_reference = now.n_times_used_as_reference
from (
    with
    served as (
        select flywheel, reference_id, is_current, first_cycle from {{ ref('reference_corpus') }}
    ),
    used as (
        select flywheel, reference_id, sum(n_outputs)::bigint as n_times
        from {{ ref('int_shown_references') }}
        group by all
    ),
    formerly as (
        select flywheel, output_id as reference_id
        from {{ this }}
        where is_reference or reference_since is not null or n_times_used_as_reference > 0
    ),
    concerned as (
        select flywheel, reference_id from served
        union
        select flywheel, reference_id from used
        union
        select flywheel, reference_id from formerly
    )
    select
        flywheel,
        reference_id,
        coalesce(served.is_current, false) as is_reference,
        served.first_cycle as reference_since,
        coalesce(used.n_times, 0) as n_times_used_as_reference
    from concerned
    left join served using (flywheel, reference_id)
    left join used using (flywheel, reference_id)
) as now
where outputs.flywheel = now.flywheel and outputs.output_id = now.reference_id
    and (outputs.is_reference, outputs.reference_since, outputs.n_times_used_as_reference)
        is distinct from (now.is_reference, now.reference_since, now.n_times_used_as_reference)
{% endif %}
{% endmacro %}
