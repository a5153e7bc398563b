{{ config(meta={'by_cycle': true}) }}

with

trends as (

    select * from {{ ref('stg_theme_trends') }}

),

learning as (

    select * from {{ ref('stg_theme_learning') }}
    where arm = 'flywheel'

),

final as (

    select

        ---------- ids
        trends.flywheel,
        trends.cycle,
        trends.theme_id,
        learning.is_synthetic,

        ---------- what it was then
        trends.name,
        trends.status,
        trends.is_new,

        ---------- how much of it there was
        trends.n_tickets,
        trends.n_all,
        trends.share,
        trends.share_low,
        trends.share_high,

        ---------- whether it moved
        trends.expected,
        trends.ratio,
        trends.p_value,
        trends.q_value,
        trends.movement

    from trends
    left join learning on trends.flywheel = learning.flywheel and trends.cycle = learning.cycle

)

select * from final
order by flywheel, cycle, theme_id
