{{ config(meta={'by_cycle': true}) }}

with

reviews as (

    select * from {{ ref('stg_reviews') }}

),

published as (

    select distinct
        flywheel,
        cycle,
        output_id
    from {{ ref('stg_published_outputs') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

final as (

    select

        ---------- ids
        reviews.flywheel,
        reviews.cycle,
        reviews.output_id,
        reviews.reviewer,
        reviews.batch_id,
        reviews.source_row,
        manifests.is_synthetic,

        ---------- what was said
        reviews.decision,
        reviews.final_text,
        reviews.comment,
        reviews.edit_similarity,
        reviews.reviewed_on,
        reviews.recorded_at,

        ---------- whether it counts
        published.output_id is not null as is_published,
        published.output_id is not null
        and row_number() over (
            partition by reviews.flywheel, reviews.cycle, reviews.output_id
            order by reviews.recorded_at desc, reviews.batch_id desc, reviews.source_row desc
        ) = 1 as is_latest

    from reviews
    left join published
        on
            reviews.flywheel = published.flywheel
            and reviews.cycle = published.cycle
            and reviews.output_id = published.output_id
    left join manifests on reviews.flywheel = manifests.flywheel and reviews.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle, output_id, recorded_at, batch_id, source_row
