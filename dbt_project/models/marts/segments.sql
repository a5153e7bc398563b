with

segments as (

    select * from {{ ref('stg_segment_momentum') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

final as (

    select

        ---------- ids
        segments.flywheel,
        segments.cycle,
        segments.segment,
        segments.metric,
        manifests.is_synthetic,

        ---------- what is known of it
        segments.n_flywheel,
        segments.n_control,
        segments.lift,
        segments.lower,
        segments.upper,
        case
            when segments.lower > 0 then 'better'
            when segments.upper < 0 then 'worse'
            else 'open'
        end as verdict,
        segments.cycle = max(segments.cycle) over (partition by segments.flywheel) as is_latest

    from segments
    left join manifests on segments.flywheel = manifests.flywheel and segments.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle, segment
