from experts import load_catalogue
from experts.upstream.dialect import fill_defaults
from serve.experts.deployments import deployment_name, deployment_options
from serve.experts.vllm_expert import conversation_template


def render(messages, prompt="Question: {question}\nAnswer:"):
    import jinja2

    return jinja2.Environment().from_string(conversation_template(prompt)).render(messages=messages)


def test_a_base_model_reads_a_conversation_in_the_catalogues_words():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": 'Say "{{ hi }}"'},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "Again\nplease"},
    ]
    assert render(messages) == (
        'Be brief.\n\nQuestion: Say "{{ hi }}"\nAnswer: hi\n\nQuestion: Again\nplease\nAnswer:'
    )


def test_the_catalogues_sampling_fills_what_the_request_leaves_open():
    spec = load_catalogue().get("smollm2-135m")
    assert fill_defaults(spec, {}) == {"temperature": 0.0, "max_tokens": spec.max_tokens}
    assert fill_defaults(spec, {"temperature": 1, "seed": None}) == {
        "temperature": 1,
        "max_tokens": spec.max_tokens,
    }
    assert "max_tokens" not in fill_defaults(spec, {"max_completion_tokens": 5})


def test_two_engines_fit_a_laptop():
    options = [deployment_options(spec) for spec in load_catalogue().experts]
    assert sum(option["ray_actor_options"]["num_cpus"] for option in options) <= 1
    assert options[0]["name"] == deployment_name("smollm2-135m") == "expert:smollm2-135m"
