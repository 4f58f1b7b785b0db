"""What is wrong with platform.yaml, in the reader's language: the errors are written down in English, one a line.

The trap: a path stands before each sentence, so where the English begins with a value the Korean does, too. One that is
changed in `core/document.py`, `core/platform*.py` or `adapters/platform_file.py` must be changed here, too;
tests/architecture/test_retold.py finds each. What Kueue's engine says of its objects stays English.
"""

from __future__ import annotations

from collections.abc import Mapping

from dure.wire.retelling import Retelling

_FRAMES: Mapping[str, str] = {
    "{wrong} (and {count} more)": "{wrong} (외 {count}건)",
    "{wrong}; right would be {right}": "{wrong}. 올바른 값: {right}",
    "{right} (did you mean {near}?), or none": "{right} (혹시 {near}?) 또는 생략",
    "{right} (did you mean {near}?)": "{right} (혹시 {near}?)",
    "(did you mean {near}?)": "(혹시 {near}?)",
    "{right} (in quotes: '{value}')": "{right} (따옴표로: '{value}')",
    "(in quotes: '{value}')": "(따옴표로: '{value}')",
}

_FORMS: Mapping[str, str] = {
    "is missing": "빠졌습니다",
    "has {count} entries": "항목이 {count}개입니다",
    "{value} is not a mapping": "{value}은(는) 키와 값의 모음이 아닙니다",
    "keys with values: {names}": "키와 값: {names}",
    "keys with values": "키와 값",
    "{value} is not a key here": "{value} 키는 여기에 없습니다",
    "{value} is not a name": "{value}은(는) 이름이 아닙니다",
    "a name (in quotes when it looks like a number)": "이름(숫자처럼 보이면 따옴표로)",
    "{value} is not a list with entries": "{value}은(는) 항목이 있는 목록이 아닙니다",
    "a list of 1 to {limit} entries, each with {names}": "항목 1~{limit}개의 목록, 항목마다 {names}",
    "{value} is not a list of 1 to {limit} files": "{value}은(는) 파일 1~{limit}개의 목록이 아닙니다",
    "is not a list of 1 to {limit} files": "파일 1~{limit}개의 목록이 아닙니다",
    "{value} is not a list": "{value}은(는) 목록이 아닙니다",
    "a list such as [a, b], each {right}": "[a, b] 같은 목록, 항목마다 {right}",
    "{value} is listed twice": "{value}이(가) 두 번 있습니다",
    "each once": "한 번씩",
    "{value} is not text": "{value}은(는) 텍스트가 아닙니다",
    "text": "텍스트",
    "1 to {limit} characters": "1~{limit}자",
    "{value} is not allowed": "{value}은(는) 쓸 수 없습니다",
    "{value} is not a whole number": "{value}은(는) 정수가 아닙니다",
    "{value} is not a number": "{value}은(는) 숫자가 아닙니다",
    "{value} is out of range": "{value}은(는) 범위를 벗어납니다",
    "{value} is negative": "{value}은(는) 음수입니다",
    "{value} is too small": "{value}은(는) 너무 작습니다",
    "a number of GPUs of at least 0, such as 4 or 0.5": "4나 0.5 같은 0 이상의 GPU 수",
    "a number of at least 0": "0 이상의 수",
    "a number above {limit}": "{limit}보다 큰 수",
    "a price of at least 0": "0 이상의 가격",
    "a whole number from {least} to {most}": "{least}~{most}의 정수",
    "a whole number of at least {least}": "{least} 이상의 정수",
    "{value} is neither true nor false": "{value}은(는) true도 false도 아닙니다",
    "true or false": "true 또는 false",
    "the name of a {kind}": "{kind}의 이름",
    "{name} is taken already by {where}": "{name}은(는) {where}에서 이미 씁니다",
    "another name": "다른 이름",
    "{value} is not a tier": "{value} 티어는 없습니다",
    "{value} is not a team": "{value} 팀은 없습니다",
    "{value} is not a {kind}": "{value}은(는) 있는 {kind}이(가) 아닙니다",
    "to leave it out, or an entry of `{section}` of that name: there is none": (
        "생략하거나 `{section}`에 그 이름의 항목을 추가(지금은 없음)"
    ),
    "one of them with `name: {name}`, which jobs have unless they name another": (
        "작업이 따로 정하지 않을 때 쓰는 `name: {name}` 항목"
    ),
    "one of the two": "둘 중 하나",
    "one of {names}, or none": "{names} 중 하나 또는 생략",
    "one of {names}": "{names} 중 하나",
}

_SECTIONS: Mapping[str, str] = {
    "an ISO 4217 code": "ISO 4217 통화 코드",
    "the name of a node's label, such as rack": "rack 같은 노드 레이블의 이름",
    "a label's value: letters, digits and . _ -": "레이블 값: 글자, 숫자와 . _ -",
    "a user name of letters, digits and . _ @ -, or '*' for everyone who is signed in": (
        "글자, 숫자와 . _ @ -로 된 사용자 이름 또는 로그인한 모두를 뜻하는 '*'"
    ),
    "{right}, or '*' for everyone who is signed in": "{right} 또는 로그인한 모두를 뜻하는 '*'",
    "a user name of letters, digits and . _ @ -": "글자, 숫자와 . _ @ -로 된 사용자 이름",
    "1 to 63 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit": (
        "소문자, 숫자, '-', '.'로 된 1~63자. 처음과 끝은 글자나 숫자"
    ),
    "github, google, generic-oauth, or another JupyterHub authenticator such as package.module.Class": (
        "github, google, generic-oauth 또는 package.module.Class 같은 다른 JupyterHub 인증기"
    ),
    "a module's name": "모듈의 이름",
    "a GPU's UUID as `nvidia-smi -L` shows it": "`nvidia-smi -L`이 보여 주는 GPU의 UUID",
    "there are {count} UUIDs for {gpus} GPUs": "GPU {gpus}개에 UUID가 {count}개입니다",
    "one for each GPU, or none": "GPU마다 하나 또는 생략",
    "the instances that share its GPUs are not named": "GPU를 나누는 인스턴스의 이름이 없습니다",
    "`uuids` with the MIG-… names of its instances, one for each of `gpus`, as `nvidia-smi -L` shows them": (
        "`nvidia-smi -L`이 보여 주는 인스턴스의 MIG-… 이름을 `gpus`마다 하나씩 적은 `uuids`"
    ),
    "it has no label {names}, which topology names": "topology에 있는 레이블 {names}이(가) 없습니다",
    "{labels} at the node": "노드에 {labels}",
    "a private cluster has no prices of its own": "자체(private) 클러스터에는 따로 가격이 없습니다",
    "to leave it out: what its GPUs cost is price_per_gpu_hour of tiers": (
        "생략: GPU 가격은 티어의 price_per_gpu_hour입니다"
    ),
    "public cluster {name} has GPUs of tier {tier} without a price": (
        "퍼블릭 클러스터 {name}의 {tier} 티어 GPU에 가격이 없습니다"
    ),
    "{prices}, the price of one GPU for an hour": "{prices}, GPU 하나의 시간당 가격",
    "team {team} has a queue already ({where})": "{team} 팀에는 이미 큐가 있습니다({where})",
    "one queue per team": "팀마다 큐 하나",
    "min_wait_s {least} is more than max_wait_s {most}": "min_wait_s {least}이(가) max_wait_s {most}보다 큽니다",
    "min_wait_s of at most max_wait_s": "max_wait_s 이하의 min_wait_s",
    "a secret stands in the file": "파일에 비밀값이 적혀 있습니다",
    "{variable}, the environment variable that has it when `dure up` starts": (
        "{variable}: `dure up`을 시작할 때 그 값이 든 환경 변수"
    ),
    "{value} is no reference": "{value}은(는) 참조가 아닙니다",
    "`${NAME}` and nothing else, or a text without `${`": "`${NAME}` 꼴만 쓰거나 `${{`가 없는 텍스트",
    "text, a number, true, false, or a list or mapping of those": (
        "텍스트, 숫자, true, false 또는 이들의 목록이나 모음"
    ),
    "{action} acts on a budget, and the team has none": "{action}은(는) 예산이 있어야 하는데 팀에 예산이 없습니다",
    "`budget_per_month` (money) or `budget_gpu_hours_per_month` beside it, or no budget_action": (
        "`budget_per_month`(금액)나 `budget_gpu_hours_per_month`를 함께 적거나 budget_action을 생략"
    ),
    "lends {lent} of {tier} and is guaranteed {own}": "{tier} 보장은 {own}인데 {lent}을(를) 빌려줍니다",
    "at most its nominal_quota, {own}": "nominal_quota인 {own} 이하",
    "{name} is the platform's own cohort": "{name}은(는) 플랫폼 자체의 cohort입니다",
    "cohorts go round in a circle: {names}": "cohort가 서로 돌고 돕니다: {names}",
    "a parent outside of the circle": "그 고리 밖의 parent",
    "shares cannot preempt while fair sharing is off": "공정 공유가 꺼져 있으면 지분으로 선점할 수 없습니다",
    "borrow_within_cohort has no meaning where shares preempt": (
        "지분으로 선점하는 곳에서 borrow_within_cohort는 뜻이 없습니다"
    ),
    "Never, or `fair_sharing: {preemption: false}`": "Never 또는 `fair_sharing: {{preemption: false}}`",
    "with this, {promised} GPUs of {tier} are guaranteed in all, but the private clusters have {have}": (
        "이것까지 {tier} GPU {promised}개를 보장하는데 자체 클러스터에는 {have}개가 있습니다"
    ),
    "at most {left}; to limit a team without guaranteeing it anything, {typed}": (
        "{left} 이하. 보장 없이 팀을 제한하려면 {typed}"
    ),
}

_FILES: Mapping[str, str] = {
    "the file is empty": "파일이 비어 있습니다",
    "the file is not a mapping of sections": "파일이 항목들의 모음이 아닙니다",
    "what `dure init` writes": "`dure init`이 쓰는 내용",
    "a second document begins here": "여기서 두 번째 문서가 시작됩니다",
    "one document": "문서 하나",
    "is of Kueue's objects": "Kueue 객체입니다",
    "platform.yaml, with this file's name under `kueue:`": "`kueue:` 아래에 이 파일의 이름을 적은 platform.yaml",
    "`[kueue.yaml]`, beside this file": "이 파일 옆의 `[kueue.yaml]`",
    "{name} is empty": "{name}이(가) 비어 있습니다",
    "a file of Kueue's objects, beside this file": "이 파일 옆의 Kueue 객체 파일",
    "a file of Kueue's objects": "Kueue 객체 파일",
    "{path} is there already and was left as it is: edit it, or move it away and run `dure init` again": (
        "{path} 파일이 이미 있어 그대로 두었습니다. 직접 고치거나 옮긴 뒤 `dure init`을 다시 실행하세요"
    ),
    "there is no such file{hint}": "그런 파일이 없습니다{hint}",
    "there is no such file": "그런 파일이 없습니다",
    "{path}: cannot be read: {problem}; check the file's permissions": (
        "{path}: 읽을 수 없습니다: {problem}. 파일의 권한을 확인하세요"
    ),
    "is larger than {size} bytes; a platform file is a few kilobytes": (
        "{size}바이트보다 큽니다. 플랫폼 파일은 몇 킬로바이트입니다"
    ),
    "is nested too deeply or repeats itself; write it out plainly": (
        "너무 깊이 중첩되었거나 되풀이됩니다. 풀어서 쓰세요"
    ),
    "is not UTF-8 text; save the file as UTF-8": "UTF-8 텍스트가 아닙니다. 파일을 UTF-8로 저장하세요",
    "is not valid YAML: {problem}": "올바른 YAML이 아닙니다: {problem}",
    "`key: value` with a space after each colon, and all keys of one entry indented alike": (
        "쌍점 뒤에 빈칸이 있고 한 항목의 키를 똑같이 들여 쓴 `key: value`"
    ),
    "spaces, never tabs": "탭이 아닌 빈칸",
    "has a character that YAML does not allow (U+{code})": "YAML이 허용하지 않는 문자(U+{code})가 있습니다",
    "the line without it": "그 문자가 없는 줄",
    "{value} cannot be read: {problem}": "{value}을(를) 읽을 수 없습니다: {problem}",
    "it in quotes, if it is text": "텍스트라면 따옴표로",
    "{name} is here twice, first in line {line}": "{name}이(가) 두 번 있습니다(처음은 {line}번째 줄)",
    "the absolute path of a Python interpreter, such as {path}, or {typed}": (
        "{path} 같은 Python 인터프리터의 절대 경로 또는 {typed}"
    ),
    "the absolute path of a Python interpreter, such as {path}": "{path} 같은 Python 인터프리터의 절대 경로",
    "{right}, or `chmod +x {path}`": "{right} 또는 `chmod +x {path}`",
    "there is no command {name} on PATH": "PATH에 {name} 명령이 없습니다",
    "{path} is a relative path": "{path}은(는) 상대 경로입니다",
    "there is no file {path}": "{path} 파일이 없습니다",
    "{path} cannot be executed": "{path}을(를) 실행할 수 없습니다",
}

_KUEUE: Mapping[str, str] = {
    "stands beside `kueue`": "`kueue`와 함께 쓸 수 없습니다",
    "to leave it out: the objects of `kueue` say it": "생략: `kueue`의 객체가 정합니다",
    "to leave it out: the WorkloadPriorityClasses of `kueue` say it": (
        "생략: `kueue`의 WorkloadPriorityClass가 정합니다"
    ),
    "to leave it out: whenCanBorrow and whenCanPreempt say the order": (
        "생략: 순서는 whenCanBorrow와 whenCanPreempt가 정합니다"
    ),
    "to leave it out": "생략",
    "{value} is not a kind of Kueue's": "{value}은(는) Kueue의 종류(kind)가 아닙니다",
    "there is no ClusterQueue in these files": "이 파일들에 ClusterQueue가 없습니다",
    "files with ClusterQueues and LocalQueues": "ClusterQueue와 LocalQueue가 있는 파일",
    "no tier of platform.yaml is {tier}": "platform.yaml에 {tier} 티어가 없습니다",
    "{spec} with one of {names}": "{names} 중 하나를 쓴 {spec}",
    "tier {tier} is ResourceFlavor {name} already": "{tier} 티어는 이미 ResourceFlavor {name}입니다",
    "another tier, in platform.yaml and as label {label}": "다른 티어를 platform.yaml과 레이블 {label}에",
    "jobs here bring no tolerations, so taint {taint} would keep all of them out": (
        "이곳의 작업에는 toleration이 없어 taint {taint}이(가) 모두 막습니다"
    ),
    "the same key under the flavor's own `tolerations`": "flavor 자체의 `tolerations`에 같은 키",
    "nothing here answers admission checks ({names})": "이곳에는 승인 검사({names})에 답하는 것이 없습니다",
    "a queue without them": "그것이 없는 큐",
    "running jobs are not drained here": "이곳에서는 실행 중인 작업을 비우지 않습니다",
    "a job is not admitted to several flavors at once here": "이곳에서 작업은 한 번에 한 flavor에만 승인됩니다",
    "flavors are not weighed like this here": "이곳에서는 flavor를 이렇게 견주지 않습니다",
    "{name} has quota and is not in coveredResources": "{name}에 할당량이 있지만 coveredResources에 없습니다",
    "to list there what has quota, and nothing else": "할당량이 있는 것만 모두 적기",
    "{name} is not counted here": "이곳에서는 {name}을(를) 세지 않습니다",
    "{name}; a MIG instance or a GPU of another make is a tier of its own here": (
        "{name}. MIG 인스턴스나 다른 회사의 GPU는 따로 티어로 둡니다"
    ),
    "team {team} has several LocalQueues: {names}": "{team} 팀에 LocalQueue가 여럿입니다: {names}",
    "one LocalQueue of the team, or one that is named {team}": "팀의 LocalQueue 하나 또는 이름이 {team}인 것",
    "team {team} has no LocalQueue in the files of `kueue`": "`kueue`의 파일에 {team} 팀의 LocalQueue가 없습니다",
    "a LocalQueue in namespace {team}, or of that name": "네임스페이스가 {team}이거나 그 이름인 LocalQueue",
    "no team of platform.yaml has the name of its namespace {name}, nor its own": (
        "platform.yaml에 그 네임스페이스 {name}이나 그 이름의 팀이 없습니다"
    ),
    "a team {name} in platform.yaml, or to take the LocalQueue out": (
        "platform.yaml에 {name} 팀을 두거나 LocalQueue를 빼기"
    ),
    "its namespaceSelector does not take namespace {name} by its label {label}": (
        "namespaceSelector가 레이블 {label}로 네임스페이스 {name}을(를) 받지 않습니다"
    ),
    "it has no namespaceSelector, and so takes no namespace, {name} neither": (
        "namespaceSelector가 없어 {name}을(를) 포함한 어떤 네임스페이스도 받지 않습니다"
    ),
    "{selector}, or {labels}": "{selector} 또는 {labels}",
    "ClusterQueue {queue} has no quota of {name}": "ClusterQueue {queue}에 {name} 할당량이 없습니다",
    "a ClusterQueue with some": "할당량이 있는 ClusterQueue",
    "there is no {kind} {name}": "{name} {kind}이(가) 없습니다",
    "past use counts by person here, and persons have equal weights": (
        "이곳에서 지난 사용량은 사람별로 세며 사람의 가중치는 같습니다"
    ),
}

_told = Retelling(_FRAMES, _FORMS, _SECTIONS, _FILES, _KUEUE)


def platform_told(errors: str, lang: str) -> str:
    """Return the errors of a platform file, one a line, in `lang` ("en" or "ko"); what is not known stays as it is."""
    return "\n".join(_told(line, lang) for line in errors.split("\n"))
