with

quarantine as (

    select * from {{ ref('stg_quarantine') }}

),

events as (

    select * from {{ ref('stg_quarantine_events') }}
    qualify row_number() over (
        partition by flywheel, quarantined_batch, quarantined_row
        order by recorded_at desc, batch_id desc
    ) = 1

),

-- Without `cells`: the rest of a foreign row may name people, and this file is handed around. `found` is the one cell
-- that the reason is about; the whole row stands in staging, beside the lake.
final as (

    select

        ---------- ids
        quarantine.flywheel,
        quarantine.batch_id,
        quarantine.source_row,
        quarantine.field,

        ---------- what was wrong
        quarantine.source,
        quarantine.feed,
        quarantine.problem,
        quarantine.found,
        quarantine.reason,
        quarantine.recorded_at,

        ---------- what became of it
        coalesce(events.event, 'waiting') as status,
        events.decided_by,
        events.note,
        events.recorded_at as decided_at

    from quarantine
    left join events
        on
            quarantine.flywheel = events.flywheel
            and quarantine.batch_id = events.quarantined_batch
            and quarantine.source_row = events.quarantined_row

)

select * from final
order by flywheel, recorded_at, batch_id, source_row, field
