with

parts as (

    select * from {{ ref('stg_momentum_parts') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

final as (

    select

        ---------- ids
        parts.flywheel,
        parts.cycle,
        parts.arm,
        parts.part,
        parts.metric,
        manifests.is_synthetic,

        ---------- what the part contributed
        parts.n_flywheel,
        parts.n_without,
        parts.contribution,
        parts.lower,
        parts.upper,
        case
            when parts.lower > 0 then 'helps'
            when parts.upper < 0 then 'harms'
            else 'open'
        end as verdict,

        ---------- what is left without it
        parts.n_control,
        parts.lift as lift_without,
        parts.lift_lower as lift_without_lower,
        parts.lift_upper as lift_without_upper,
        parts.cycle = max(parts.cycle) over (partition by parts.flywheel) as is_latest

    from parts
    left join manifests on parts.flywheel = manifests.flywheel and parts.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle, arm
