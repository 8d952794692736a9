# SPDX-License-Identifier: Apache-2.0
"""The plugin folder: what is loaded, what is refused and why, and that the example works."""

import json
import os
import pathlib
import subprocess

import pytest
from plugin_build import Headers, build_example, build_faulty, plugin_directory

BUILD = pathlib.Path(os.environ["CRAB_BUILD"])


@pytest.fixture(scope="module")
def headers(tmp_path_factory) -> Headers:
    return Headers(tmp_path_factory.mktemp("headers"))


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    return plugin_directory(tmp_path)


def host(folder: pathlib.Path, *words: str) -> dict:
    done = subprocess.run([BUILD / "tests/plugins/plugin_host", folder, *words], check=True,
                          capture_output=True, text=True)
    return {"refused": {}} | json.loads(done.stdout)


def plugins_in(result: dict) -> list[str]:
    return sorted(name for name, path in result["known"].items() if path)


def test_example_is_built_outside_the_tree_loaded_and_used(headers, folder, tmp_path):
    path = build_example(headers, tmp_path, folder)
    result = host(folder, "least_open")
    assert result["known"]["least_open"] == str(path)
    assert result["refused"] == {}
    # 5 + a, 0 + b and (0 + c) / 2 end up level: 1,005 connections in all, in parts of 1, 1 and 2.
    a, b, c, beyond = result["picks"]
    assert beyond == 0
    assert abs(a - (1005 / 4 - 5)) <= 1 and abs(b - 1005 / 4) <= 1 and abs(c - 1005 / 2) <= 1
    assert "of 16 choices" in result["explained"]
    # Fewer choices: still all are used, but not level.
    assert "of 1 choices" in host(folder, "least_open", "choices=1")["explained"]


@pytest.mark.parametrize("parameter", ["choices=0", "choices=1025", "choices=x", "choices=-1",
                                       "speed=11"])
def test_example_names_a_wrong_parameter(headers, folder, tmp_path, parameter):
    build_example(headers, tmp_path, folder)
    done = subprocess.run([BUILD / "tests/plugins/plugin_host", folder, "least_open", parameter],
                          capture_output=True, text=True)
    name = parameter.partition("=")[0]
    assert done.returncode == 1 and f"least_open: parameter '{name}'" in done.stderr


REFUSALS = {
    "old": (["ABI=1"], "is built for version 1 of the policy ABI; this crab-lb has version 2"),
    "short": (["SIZE=32"], "has a crab_policy_ops of 32 bytes"),
    "nameless": (['NAME="No Name"'], "has no name of [a-z][a-z0-9_]*"),
    "mute": (["ENTRY=another_entry"], "exports no symbol crab_policy_entry"),
    "idle": (["PICK_FUNCTION=NULL"], "has no pick()"),
    "sick": (["SICK"], "fails its self-test: one is not two"),
    "thief": (['NAME="round_robin"'], "'round_robin' is a built-in policy's name"),
}


def test_each_fault_is_refused_with_its_reason_and_the_rest_is_loaded(headers, folder):
    build_faulty(headers.flags(), folder, "first")
    for file, (defines, _) in REFUSALS.items():
        build_faulty(headers.flags(), folder, file, *defines)
    (folder / "text.so").write_text("not a shared object\n")
    (folder / "text.so").chmod(0o644)
    (folder / "README").write_text("not looked at\n")
    result = host(folder, "first")
    assert plugins_in(result) == ["first"]
    assert result["picks"] == [1000, 0, 0, 0]
    refused = result["refused"]
    assert sorted(refused) == sorted([f"{file}.so" for file in REFUSALS] + ["text.so"])
    for file, (_, reason) in REFUSALS.items():
        assert reason in refused[f"{file}.so"]
    assert "invalid ELF header" in refused["text.so"] or "too short" in refused["text.so"]


def test_first_of_two_with_one_name_wins(headers, folder):
    build_faulty(headers.flags(), folder, "a_first")
    build_faulty(headers.flags(), folder, "b_first")
    result = host(folder)
    assert result["known"]["first"] == str(folder / "a_first.so")
    assert result["refused"] == {
        "b_first.so": f"'first' is already the name of {folder / 'a_first.so'}"}


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o777])
def test_file_that_others_may_write_to_is_not_run(headers, folder, mode):
    build_faulty(headers.flags(), folder, "first").chmod(mode)
    assert "may be written to by its group or by others" in host(folder)["refused"]["first.so"]


def test_folder_that_others_may_write_to_is_not_read(headers, folder):
    build_faulty(headers.flags(), folder, "first")
    folder.chmod(0o777)
    result = host(folder)
    assert plugins_in(result) == []
    assert "may be written to" in result["refused"]["policies"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_file_of_another_user_is_not_run(headers, folder):
    os.chown(build_faulty(headers.flags(), folder, "first"), 65534, -1)
    assert "belongs to user 65534" in host(folder)["refused"]["first.so"]


def test_only_regular_files_are_loaded(headers, folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "link.so").symlink_to(build_faulty(headers.flags(), outside, "first"))
    (folder / "folder.so").mkdir()
    refused = host(folder)["refused"]
    assert "is not a regular file" in refused["link.so"]
    assert "is not a regular file" in refused["folder.so"]


def test_no_folder_is_no_plugin(tmp_path):
    result = host(tmp_path / "absent")
    assert plugins_in(result) == [] and result["refused"] == {}


def check_config(tmp_path: pathlib.Path, folder: object, policy: str) -> subprocess.CompletedProcess:
    path = tmp_path / "crab.yaml"
    path.write_text(f"""node: 1
policy_directory: {folder}
dataplane:
  workers: [0]
  ports:
    - {{ vdev: "net_null0", host_interface: crab0, addresses: [10.0.0.2/24] }}
services:
  - name: web
    address: 10.0.0.100
    port: 80
    policy: {{ name: {policy} }}
""")
    return subprocess.run([BUILD / "crab-lb", "--check-config", "--config", path],
                          capture_output=True, text=True)


def test_configuration_may_name_a_plugin(headers, folder, tmp_path):
    build_faulty(headers.flags(), folder, "first")
    done = check_config(tmp_path, folder, "first")
    assert done.returncode == 0, done.stderr
    assert f"policy first is from {folder / 'first.so'}" in done.stderr


def test_configuration_that_names_a_refused_plugin_says_why(headers, folder, tmp_path):
    sick = build_faulty(headers.flags(), folder, "sick", "SICK", 'NAME="sickly"')
    done = check_config(tmp_path, folder, "sickly")
    assert done.returncode == 1
    assert (f"services[0].policy.name: the plugin for 'sickly' was refused: {sick} "
            "fails its self-test: one is not two") in done.stderr
    # A refused plugin alone stops nothing.
    done = check_config(tmp_path, folder, "random")
    assert done.returncode == 0
    assert f"policy plugin not used: {sick} fails its self-test" in done.stderr


def test_configuration_that_names_none_lists_the_known(headers, folder, tmp_path):
    build_faulty(headers.flags(), folder, "first")
    done = check_config(tmp_path, folder, "best")
    assert done.returncode == 1
    assert "no policy is called 'best'; known are round_robin" in done.stderr
    assert done.stderr.rstrip().endswith("first")
    done = check_config(tmp_path, "policies", "random")
    assert done.returncode == 1 and "policy_directory: must be an absolute path" in done.stderr
