with

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

batches as (

    select * from {{ ref('stg_batches') }}

),

-- As in int_metric_definitions: the window of the newest cycle judges all of them.
windows as (

    select
        flywheel,
        arg_max(settings ->> 'cadence', cycle) as cadence,
        arg_max((settings ->> 'measurement_window')::bigint, cycle) as measurement_window
    from manifests
    where json_valid(settings)
    group by 1

),

exported as (

    select
        flywheel,
        cycle,
        min(recorded_at) as exported_at
    from {{ ref('stg_exports') }}
    group by 1, 2

),

matures as (

    select
        manifests.flywheel,
        manifests.cycle,
        case windows.cadence
            when 'daily' then manifests.cycle + to_days(windows.measurement_window::int)
            when 'weekly' then manifests.cycle + to_days(7 * windows.measurement_window::int)
            when 'monthly' then manifests.cycle + to_months(windows.measurement_window::int)
        end at time zone 'UTC' as matures_at
    from manifests
    inner join windows on manifests.flywheel = windows.flywheel

),

-- Not the clock but the newest batch says what day it is.
matured as (

    select
        matures.flywheel,
        matures.cycle,
        min(batches.recorded_at) as matured_at
    from matures
    inner join batches
        on matures.flywheel = batches.flywheel and matures.matures_at <= batches.recorded_at
    group by 1, 2

),

final as (

    select

        ---------- ids
        manifests.flywheel,
        manifests.cycle,

        ---------- timestamps
        -- An archive is sent nowhere: its cycles open when they begin.
        coalesce(exported.exported_at, manifests.cycle::timestamp at time zone 'UTC') as opened_at,
        matures.matures_at,
        matured.matured_at

    from manifests
    left join exported on manifests.flywheel = exported.flywheel and manifests.cycle = exported.cycle
    left join matures on manifests.flywheel = matures.flywheel and manifests.cycle = matures.cycle
    left join matured on manifests.flywheel = matured.flywheel and manifests.cycle = matured.cycle

)

select * from final
order by flywheel, cycle
