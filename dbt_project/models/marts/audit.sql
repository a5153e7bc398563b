with

audit as (

    select * from {{ ref('stg_audit') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

final as (

    select

        ---------- ids
        audit.flywheel,
        audit.cycle,
        audit.item,
        manifests.is_synthetic,

        ---------- what was found
        audit.question,
        audit.passed,
        audit.number,
        audit.evidence,

        ---------- about all items of the cycle
        count(*) filter (where audit.passed) over (partition by audit.flywheel, audit.cycle) as n_passed,
        audit.cycle = max(audit.cycle) over (partition by audit.flywheel) as is_latest

    from audit
    left join manifests on audit.flywheel = manifests.flywheel and audit.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle, item
