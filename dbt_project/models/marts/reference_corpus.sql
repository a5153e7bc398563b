with

entries as (

    select * from {{ ref('stg_reference_corpus') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

-- A close leaves a prompt even when its corpus is empty, so prompts say which cycle was closed last.
closed as (

    select
        flywheel,
        cycle
    from {{ ref('stg_refreshed_prompt') }}
    union
    select
        flywheel,
        cycle
    from entries

),

last_closed as (

    select
        flywheel,
        max(cycle) as cycle
    from closed
    group by 1

),

history as (

    select
        flywheel,
        reference_id,
        any_value(segment) as segment,
        any_value(text) as text,
        min(source_cycle) as source_cycle,
        min(cycle) as first_cycle,
        max(cycle) as last_cycle,
        count(*) as n_cycles,
        min(rank) as best_rank,
        arg_max(rank, cycle) as last_rank,
        arg_max(quality, cycle) as last_quality,
        arg_max(p_above, cycle) as last_p_above,
        arg_max(corpus_version, cycle) as last_corpus_version
    from entries
    group by 1, 2

),

final as (

    select

        ---------- ids
        history.flywheel,
        history.reference_id,

        ---------- what it is
        history.segment,
        history.text,
        history.source_cycle,
        manifests.is_synthetic,

        ---------- when it served
        history.last_cycle = last_closed.cycle as is_current,
        history.first_cycle,
        history.last_cycle,
        history.n_cycles,

        ---------- how good it was
        history.best_rank,
        history.last_rank,
        history.last_quality,
        history.last_p_above,
        history.last_corpus_version

    from history
    inner join last_closed on history.flywheel = last_closed.flywheel
    left join manifests on history.flywheel = manifests.flywheel and history.source_cycle = manifests.cycle

)

select * from final
order by flywheel asc, is_current desc, last_rank asc, reference_id asc
