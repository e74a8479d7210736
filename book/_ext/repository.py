"""Launch, source and edit buttons, all from `repository: url:` in _config.yml, or none of them."""

LAUNCH = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}
# What can be edited is the text, not the notebook made from it.
EDIT = "{{ file_name.replace('book/', 'book/md/').replace('.ipynb', '.md') }}"


def add_buttons(app, config):
    options = config.html_theme_options
    url, branch = options.get("repository_url", "").rstrip("/"), options.get("repository_branch")
    options["launch_buttons"] = LAUNCH if url else {}
    for button in ("use_repository_button", "use_edit_page_button", "use_issues_button"):
        options[button] = bool(url)
    if url:
        config.html_context["edit_page_provider_name"] = "GitHub"
        config.html_context["edit_page_url_template"] = f"{url}/edit/{branch}/{EDIT}"


def setup(app):
    app.connect("config-inited", add_buttons, priority=100)  # before the theme reads its options
    return {"parallel_read_safe": True, "parallel_write_safe": True}
