-- By the settings of the newest cycle: a close measures every cycle, old ones too, by the YAML as it is, and the lake's
-- nearest copy of that is what the newest cycle was opened with.
with

newest as (

    select
        flywheel,
        arg_max(settings, cycle) as settings
    from {{ ref('stg_cycle_manifest') }}
    where json_valid(settings)
    group by 1

),

named as (

    select
        flywheel,
        settings,
        unnest(json_keys(settings, '$.metrics')) as metric
    from newest

),

defined as (

    select
        flywheel,
        metric,
        settings -> 'metrics' -> metric as definition
    from named

),

renamed as (

    select
        flywheel,
        metric,
        definition ->> 'kind' as kind,
        coalesce(
            definition ->> 'successes',
            definition ->> 'amount',
            definition ->> 'events',
            definition ->> 'time',
            definition ->> 'position'
        ) as numerator,
        definition ->> 'exposure' as denominator,
        (definition ->> 'k')::double as k,
        coalesce(definition ->> 'better', 'higher') as better
    from defined

),

final as (

    select

        ---------- ids
        flywheel,
        metric,

        ---------- what it is
        case when kind = 'count' and denominator is null then 'per_output' else kind end as kind,
        numerator,
        denominator,
        k,
        better

    from renamed

)

select * from final
order by flywheel, metric
