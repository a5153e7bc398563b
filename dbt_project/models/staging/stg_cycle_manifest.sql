with

source as (

    select * from {{ source('lake', 'cycle_manifest') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        prompt_version,
        control_prompt_version,
        challenger_prompt_version,
        no_references_prompt_version,
        no_guidelines_prompt_version,
        corpus_version,
        scoring_model_version,
        threshold_version,
        config_hash,

        ---------- text
        settings,
        model,
        output_schema,

        ---------- numerics
        attempt,

        ---------- booleans
        is_synthetic,
        gap_allowed,

        ---------- dates
        cycle,
        predecessor,

        ---------- timestamps
        knowledge_cutoff

    from source

)

select * from renamed
