-- Cumulative counts are the running sum of the cycles' counts, of one metric at a time. A warning and not an error:
-- between the correction of an old cycle and the re-close of the cycles after it the two differ, and analysts should
-- neither be misled nor cut off.
{{ config(severity='warn') }}

with

running as (

    select
        flywheel,
        cycle,
        cumulative_n_briefs,
        sum(n_briefs) over (partition by flywheel, metric order by cycle) as summed_n_briefs
    from {{ ref('momentum') }}

)

select * from running
where cumulative_n_briefs is distinct from summed_n_briefs
