{{ config(post_hook=["{{ corpus_functions() }}"]) }}

with

changes as (

    select * from {{ ref('stg_reference_changes') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

-- A close leaves signs even when its corpus is empty, so they say which cycle was closed last.
last_closed as (

    select
        flywheel,
        max(cycle) as cycle
    from {{ ref('stg_collapse_signs') }}
    group by 1

),

entries as (

    select
        flywheel,
        reference_id,
        cycle,
        reason,
        words
    from changes
    where change = 'entered'

),

intervals as (

    select
        flywheel,
        reference_id,
        segment,
        text,
        source_cycle,
        since as valid_from,
        cycle as valid_to,
        rank_before as last_rank,
        reason as why_left,
        words as left_in_words
    from changes
    where change = 'left'

    union all

    select
        changes.flywheel,
        changes.reference_id,
        changes.segment,
        changes.text,
        changes.source_cycle,
        changes.since as valid_from,
        null as valid_to,
        changes.rank as last_rank,
        null as why_left,
        null as left_in_words
    from changes
    inner join last_closed on changes.flywheel = last_closed.flywheel and changes.cycle = last_closed.cycle
    where changes.change <> 'left'

),

final as (

    select

        ---------- ids
        intervals.flywheel,
        intervals.reference_id,

        ---------- what it is
        intervals.segment,
        intervals.text,
        intervals.source_cycle,
        manifests.is_synthetic,

        ---------- when it was valid
        intervals.valid_from,
        intervals.valid_to,
        intervals.valid_to is null as is_current,
        row_number() over (
            partition by intervals.flywheel, intervals.reference_id order by intervals.valid_from
        ) as interval_number,
        intervals.last_rank,

        ---------- why
        entries.reason as why_entered,
        entries.words as entered_in_words,
        intervals.why_left,
        intervals.left_in_words

    from intervals
    left join entries
        on
            intervals.flywheel = entries.flywheel
            and intervals.reference_id = entries.reference_id
            and intervals.valid_from = entries.cycle
    left join manifests on intervals.flywheel = manifests.flywheel and intervals.source_cycle = manifests.cycle

)

select * from final
order by flywheel, valid_from, last_rank, reference_id
