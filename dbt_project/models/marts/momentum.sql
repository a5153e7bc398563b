with

momentum as (

    select * from {{ ref('stg_momentum') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

in_cycle as (

    select * from momentum
    where scope = 'cycle'

),

cumulative as (

    select * from momentum
    where scope = 'cumulative'

),

final as (

    select

        ---------- ids
        in_cycle.flywheel,
        in_cycle.cycle,
        in_cycle.metric,
        manifests.is_synthetic,

        ---------- this cycle alone
        in_cycle.n_briefs,
        in_cycle.n_flywheel,
        in_cycle.n_control,
        in_cycle.n_both,
        in_cycle.n_contrasts,
        in_cycle.flywheel_mean,
        in_cycle.control_mean,
        in_cycle.lift,
        in_cycle.lower,
        in_cycle.upper,
        in_cycle.hit_rate,
        in_cycle.chance_rate,

        ---------- every cycle up to this one
        cumulative.n_briefs as cumulative_n_briefs,
        cumulative.n_contrasts as cumulative_n_contrasts,
        cumulative.flywheel_mean as cumulative_flywheel_mean,
        cumulative.control_mean as cumulative_control_mean,
        cumulative.lift as cumulative_lift,
        cumulative.lower as cumulative_lower,
        cumulative.upper as cumulative_upper,
        cumulative.anytime_lift,
        cumulative.anytime_lower,
        cumulative.anytime_upper,
        cumulative.hit_rate as cumulative_hit_rate,
        cumulative.chance_rate as cumulative_chance_rate

    from in_cycle
    left join cumulative
        on in_cycle.flywheel = cumulative.flywheel and in_cycle.cycle = cumulative.cycle
    left join manifests
        on in_cycle.flywheel = manifests.flywheel and in_cycle.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle
