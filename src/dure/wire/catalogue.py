"""Every refusal that a person can meet: code, HTTP status, and one sentence in each language.

The trap: what fills a sentence goes to the client as it is, so it never holds a secret or another team's facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One code of the catalogue; sentences are `str.format` templates over the error's data."""

    status: int
    title: str
    en: str
    ko: str


CATALOGUE: Mapping[str, Entry] = {
    "not_signed_in": Entry(
        401,
        "Not signed in",
        "You are not signed in, or your sign-in has run out: run `dure login`, or open the portal and sign in again.",
        "로그인되어 있지 않거나 로그인이 만료되었습니다. `dure login`을 실행하거나 포털에서 다시 로그인하세요.",
    ),
    "token_refused": Entry(
        401,
        "Token refused",
        "{url} does not take this token: it was revoked, has run out, or is of another platform. Type the line "
        "that {place} shows.",
        "{url}에서 이 토큰을 쓸 수 없습니다. 취소되었거나 만료되었거나 다른 플랫폼의 토큰입니다. {place}에 나오는 줄을 "
        "입력하세요.",
    ),
    "not_allowed": Entry(
        403,
        "Not allowed",
        "{user} may not {action}: only {who} may. Ask an administrator if you need it.",
        "{user}님은 이 작업({action})을 할 수 없습니다. {who}만 할 수 있으니 관리자에게 요청하세요.",
    ),
    "no_team": Entry(
        403,
        "Not in a team",
        "{user} is in no team, so there is no queue to submit to: ask an administrator to add you to a team's "
        "members in platform.yaml.",
        "{user}님은 속한 팀이 없어 작업을 제출할 수 없습니다. 관리자에게 platform.yaml의 팀 구성원으로 추가를 "
        "요청하세요.",
    ),
    "unknown_team": Entry(
        422,
        "Unknown team",
        "There is no team {team!r} that you are a member of; yours: {choices}. Use one of them.",
        "{team!r} 팀이 없거나 구성원이 아닙니다. 사용할 수 있는 팀: {choices}.",
    ),
    "team_needed": Entry(
        422,
        "Which team?",
        "You are in several teams ({choices}): say which one with --team.",
        "여러 팀({choices})에 속해 있습니다. --team으로 팀을 지정하세요.",
    ),
    "job_not_found": Entry(
        404,
        "No such job",
        "There is no job {job!r} that you can see: list yours with `dure jobs`.",
        "볼 수 있는 작업 중 {job!r}이(가) 없습니다. `dure jobs`로 목록을 확인하세요.",
    ),
    "unknown_tier": Entry(
        422,
        "Unknown tier",
        "There is no tier {tier!r} on this platform; there are: {choices}. Use one of them with --tier, or "
        "leave it out.",
        "{tier!r} 티어는 없습니다. 사용할 수 있는 티어: {choices}. --tier로 고르거나 생략하세요.",
    ),
    "unknown_environment": Entry(
        422,
        "Unknown environment",
        "There is no environment {environment!r}; there are: {choices}. Use one of them with --env.",
        "{environment!r} 환경은 없습니다. 사용할 수 있는 환경: {choices}. --env로 지정하세요.",
    ),
    "environment_python": Entry(
        409,
        "Another Python",
        "Your kernel runs Python {kernel} but environment {environment!r} has Python {python}, and values do "
        "not travel "
        "between Python minors: choose an environment with Python {kernel} (--env: {choices}) or a kernel with "
        "{python}.",
        "커널은 Python {kernel}이고 {environment!r} 환경은 Python {python}이라 값을 주고받을 수 없습니다. "
        "Python {kernel} 환경(--env: {choices})이나 Python {python} 커널을 선택하세요.",
    ),
    "unknown_priority": Entry(
        422,
        "Unknown priority",
        "There is no priority {priority!r}; there are: {choices}. Use one of them with --priority.",
        "{priority!r} 우선순위는 없습니다. 사용할 수 있는 값: {choices}. --priority로 지정하세요.",
    ),
    "unknown_data_class": Entry(
        422,
        "Unknown data class",
        "There is no data class {data!r}; there are: {choices}. Use one of them with --data.",
        "{data!r} 데이터 등급은 없습니다. 사용할 수 있는 값: {choices}. --data로 지정하세요.",
    ),
    "too_many_gpus": Entry(
        422,
        "More GPUs than exist",
        "{gpus} GPUs of {tier} on one node do not exist on this platform; the most is {most}. Ask for at most {most}.",
        "한 노드에서 {tier} GPU {gpus}개를 제공할 수 없습니다. 최대 {most}개까지 요청하세요.",
    ),
    "too_many_nodes": Entry(
        422,
        "More nodes than exist",
        "{nodes} nodes with --gpus {gpus} of {tier} each do not exist in one {place}; the most is {most}. "
        "Ask for at most --nodes {most}, or for fewer --gpus on each.",
        "{tier} GPU {gpus}개씩 있는 노드 {nodes}개를 한 {place} 안에서 제공할 수 없습니다. 최대 {most}개입니다. "
        "--nodes {most} 이하로 요청하거나 노드당 --gpus를 줄이세요.",
    ),
    "unknown_topology": Entry(
        422,
        "Unknown topology level",
        "There is no topology level {level!r}; there are: {choices}. An administrator adds them to platform.yaml.",
        "{level!r} 토폴로지 단계는 없습니다. 사용할 수 있는 값: {choices}. 관리자가 platform.yaml에 추가합니다.",
    ),
    "two_topologies": Entry(
        422,
        "Required and preferred at once",
        "A job stands in one {required} or rather in one {preferred}, not both: "
        "take one of --required-topology and --preferred-topology.",
        "--required-topology({required})와 --preferred-topology({preferred})는 함께 쓸 수 없습니다. 하나만 지정하세요.",
    ),
    "parts_of_nodes": Entry(
        422,
        "Not whole GPUs on several nodes",
        "{gpus} GPUs on each of {nodes} nodes are not whole: use a whole number with --gpus, or take --nodes 1.",
        "노드 {nodes}개에 GPU {gpus}개씩은 요청할 수 없습니다. --gpus에 정수를 쓰거나 --nodes 1로 요청하세요.",
    ),
    "one_node": Entry(
        422,
        "Only commands run on several nodes",
        "A {kind} runs on one node, not on {nodes}: put the code into a script and start it with "
        "`dure run --nodes {nodes} -- torchrun SCRIPT.py`.",
        "{kind} 작업은 노드 하나에서만 실행됩니다({nodes}개 요청). 코드를 스크립트로 옮겨 "
        "`dure run --nodes {nodes} -- torchrun SCRIPT.py`로 실행하세요.",
    ),
    "bad_fraction": Entry(
        422,
        "Not a GPU count",
        "{gpus} is not a possible number of GPUs: use a whole number, or a part of one such as 0.5 (steps of 0.001).",
        "{gpus}은(는) 사용할 수 없는 GPU 수입니다. 정수 또는 0.5와 같은 소수(0.001 단위)를 사용하세요.",
    ),
    "payload_invalid": Entry(
        422,
        "Not a valid payload",
        "The {kind} cannot be submitted: {problem}. Update the client with `pip install -U dure`.",
        "{kind} 작업을 제출할 수 없습니다: {problem}. `pip install -U dure`로 클라이언트를 업데이트하세요.",
    ),
    "too_large": Entry(
        413,
        "Too large",
        "The {what} has {size_bytes} bytes and at most {limit_bytes} are allowed: {hint}.",
        "{what}의 크기가 {size_bytes}바이트로 한도 {limit_bytes}바이트를 넘습니다: {hint}.",
    ),
    "queue_full": Entry(
        429,
        "Queue is full",
        "{user} already has {pending} jobs waiting, the most allowed ({limit}): wait for some to start or cancel "
        "them with `dure cancel JOB`.",
        "{user}님의 대기 작업이 이미 {pending}개로 한도({limit})에 도달했습니다. 기다리거나 `dure cancel "
        "JOB`으로 취소하세요.",
    ),
    "pending_limit": Entry(
        429,
        "Too many jobs waiting",
        "{who} has {pending} jobs waiting in the queue of team {team}, the most that platform.yaml allows ({limit}): "
        "wait for some to start, or cancel some with `dure cancel JOB`.",
        "{team} 팀 대기열에 {who}의 작업이 {pending}개 대기 중이라 platform.yaml의 한도({limit})에 도달했습니다. "
        "일부가 시작될 때까지 기다리거나 `dure cancel JOB`으로 취소하세요.",
    ),
    "reservation_not_found": Entry(
        404,
        "No such reservation",
        "There is no reservation {reservation!r} that you can see: list them with `dure reserve list`.",
        "볼 수 있는 예약 중 {reservation!r}이(가) 없습니다. `dure reserve list`로 목록을 확인하세요.",
    ),
    "reservation_times": Entry(
        422,
        "Not a possible time",
        "A reservation from {begins} to {ends} is not possible: it ends after it begins and after now, begins at most "
        "{ahead_days} days from now, and lasts at most {most_days} days. Choose other times.",
        "{begins}부터 {ends}까지는 예약할 수 없습니다. 끝은 시작과 지금보다 늦어야 하고, 시작은 지금부터 "
        "{ahead_days}일 이내, 기간은 {most_days}일 이내여야 합니다. 다른 시간을 선택하세요.",
    ),
    "reservation_full": Entry(
        409,
        "Not so many GPUs free then",
        "{gpus} GPUs of {tier} cannot be reserved then: {free} of {total} are not reserved yet. Ask for fewer, or for "
        "another time (`dure reserve list`).",
        "그 시간에 {tier} GPU {gpus}개를 예약할 수 없습니다. 전체 {total}개 중 {free}개가 예약 가능합니다. 수를 "
        "줄이거나 다른 시간을 선택하세요(`dure reserve list`).",
    ),
    "reservation_quota": Entry(
        409,
        "More than the team's quota",
        "Team {team} may reserve at most {most} GPUs of {tier} at any time by itself, its nominal_quota: ask for "
        "fewer, or ask an administrator to reserve them.",
        "{team} 팀이 직접 예약할 수 있는 {tier} GPU는 nominal_quota인 {most}개까지입니다. 수를 줄이거나 관리자에게 "
        "예약을 요청하세요.",
    ),
    "already_ended": Entry(
        409,
        "Already ended",
        "Job {job} has already ended ({phase}); there is nothing to {action}.",
        "작업 {job}은(는) 이미 끝났습니다({phase}).",
    ),
    "not_running": Entry(
        409,
        "Not running",
        "Job {job} is {phase}, so it cannot take this message now: it can once it is running.",
        "작업 {job}이(가) {phase} 상태라 지금은 메시지를 받을 수 없습니다.",
    ),
    "not_asked": Entry(
        409,
        "Not asked",
        "Job {job} asks for no input at present, so what was typed was not taken: see what it does now with "
        "`dure logs -f {job}`.",
        "작업 {job}이(가) 지금은 입력을 기다리지 않아 입력한 내용이 전달되지 않았습니다. `dure logs -f {job}`로 "
        "상태를 확인하세요.",
    ),
    "artifact_not_found": Entry(
        404,
        "No such artifact",
        "Job {job} has no artifact {path!r}: list them with `dure artifacts list {job}`.",
        "작업 {job}에 {path!r} 산출물이 없습니다. `dure artifacts list {job}`로 확인하세요.",
    ),
    "disk_full": Entry(
        507,
        "Disk full",
        "The platform's disk is full, so nothing was changed: an administrator frees space in {where}, then try again.",
        "플랫폼의 디스크가 가득 차서 아무것도 변경되지 않았습니다. 관리자가 {where}의 공간을 확보한 뒤 다시 "
        "시도하세요.",
    ),
    "session_not_found": Entry(
        404,
        "No such session",
        "There is no session {session!r} that you can see: list yours with `dure sessions` or `%session list`.",
        "볼 수 있는 세션 중 {session!r}이(가) 없습니다. `dure sessions` 또는 `%session list`로 확인하세요.",
    ),
    "unknown_person": Entry(
        422,
        "Unknown person",
        "Nobody can sign in here as {people}, so nothing was shared: check the name, or ask an administrator to invite "
        "them (`dure user add NAME`).",
        "{people}(으)로 로그인할 수 있는 사람이 없어 공유하지 않았습니다. 이름을 확인하거나 관리자에게 초대를 "
        "요청하세요(`dure user add NAME`).",
    ),
    "session_ambiguous": Entry(
        0,
        "Which session?",
        "{session!r} means several sessions: {choices}. Type the whole name or the id.",
        "{session!r}에 해당하는 세션이 여러 개입니다: {choices}. 전체 이름이나 id를 입력하세요.",
    ),
    "version_not_found": Entry(
        404,
        "No such version",
        "Session {session} has no version {number} (any more): list them with `dure sessions show {session}`.",
        "세션 {session}에 버전 {number}이(가) 없습니다. `dure sessions show {session}`로 확인하세요.",
    ),
    "version_newest": Entry(
        409,
        "The newest version stays",
        "Version {number} is the newest of session {session} and goes only with it: `dure sessions delete {session}`.",
        "버전 {number}은(는) 세션 {session}의 최신 버전이라 따로 삭제할 수 없습니다. "
        "`dure sessions delete {session}`로 세션을 삭제하세요.",
    ),
    "session_moved": Entry(
        409,
        "Saved from elsewhere",
        "Another kernel or `dure sessions` has saved this notebook since (version {newest}), so this kernel's "
        "variables are not saved over it: `%session fork NAME` keeps them as a session of their own, "
        "`%session restore` takes that version.",
        "다른 커널이나 `dure sessions`가 이 노트북을 이미 저장했습니다(버전 {newest}). 덮어쓰지 않기 위해 이 커널의 "
        "변수는 저장하지 않습니다. `%session fork NAME`으로 따로 저장하거나 `%session restore`로 그 버전을 가져오세요.",
    ),
    "session_quota": Entry(
        413,
        "Beyond the quota",
        "Your sessions would hold {held} and {limit} are allowed, although all older versions were left out: this "
        "version is not kept. Delete large variables (`del NAME`) or other sessions with `dure sessions delete`, then "
        "type `%session save`, or go on: it is tried again every minute.",
        "이전 버전을 모두 제외해도 세션 크기가 {held}(한도 {limit})라서 저장하지 않았습니다. 큰 변수를 지우거나"
        "(`del NAME`) `dure sessions delete`로 다른 세션을 삭제한 뒤 `%session save`를 실행하세요. 계속 작업해도 "
        "1분마다 다시 시도합니다.",
    ),
    "too_many_sessions": Entry(
        429,
        "Too many sessions",
        "{user} already has {limit} sessions, the most allowed: delete some with `dure sessions delete`.",
        "{user}님의 세션이 이미 {limit}개로 한도에 도달했습니다. `dure sessions delete`로 삭제하세요.",
    ),
    "sessions_off": Entry(
        403,
        "Sessions are switched off",
        "This platform does not save sessions: an administrator sets `sessions: save: true` in platform.yaml.",
        "이 플랫폼은 세션을 저장하지 않습니다. 관리자가 platform.yaml에서 `sessions: save: true`로 설정해야 합니다.",
    ),
    "contents_unreadable": Entry(
        409,
        "Cannot be read here",
        "What version {number} of session {session} holds cannot be read here ({problem}): look at it in a notebook "
        "with `%session diff`.",
        "세션 {session}의 버전 {number} 내용을 여기서 읽을 수 없습니다({problem}). 노트북에서 `%session diff`로 "
        "확인하세요.",
    ),
    "invalid_request": Entry(
        422,
        "Not a valid request",
        "The request cannot be understood: {problem}. See the API description at /api/docs.",
        "요청을 이해할 수 없습니다: {problem}. API 설명은 /api/docs에 있습니다.",
    ),
    "platform_older": Entry(
        422,
        "Platform is older",
        "Dure here is newer than the platform, which does not know a part of this request ({problem}): have it updated "
        "where the platform runs, with `dure down`, `pip install -U 'dure[server,hub]'` and `dure up`.",
        "여기의 Dure가 플랫폼보다 최신 버전이라 플랫폼이 이 요청의 일부를 모릅니다({problem}). 플랫폼이 실행되는 "
        "곳에서 `dure down`, `pip install -U 'dure[server,hub]'`, `dure up`으로 업데이트하도록 관리자에게 요청하세요.",
    ),
    "client_older": Entry(
        422,
        "Dure here is older",
        "Dure here is older than the platform and the two do not understand each other ({problem}): update it here "
        "with `pip install -U dure`, then restart the kernel where it is a notebook.",
        "여기의 Dure가 플랫폼보다 이전 버전이라 서로 이해하지 못합니다({problem}). 여기에서 `pip install -U dure`로 "
        "업데이트하고, 노트북이라면 커널을 다시 시작하세요.",
    ),
    "malformed_json": Entry(
        400,
        "Not JSON",
        "The request's body is not valid JSON: {problem}.",
        "요청 본문이 올바른 JSON이 아닙니다: {problem}.",
    ),
    "not_found": Entry(
        404,
        "Not found",
        "There is nothing at {path}: see the API description at /api/docs.",
        "{path}에는 아무것도 없습니다. API 설명은 /api/docs에 있습니다.",
    ),
    "method_not_allowed": Entry(
        405,
        "Method not allowed",
        "{method} is not possible at {path}: see the API description at /api/docs.",
        "{path}에서는 {method}를 사용할 수 없습니다. API 설명은 /api/docs에 있습니다.",
    ),
    "busy": Entry(
        503,
        "Busy",
        "The platform is busy and did not take this: nothing was changed, try again in a few seconds.",
        "플랫폼이 바빠 요청을 처리하지 못했습니다. 변경된 것은 없으니 잠시 후 다시 시도하세요.",
    ),
    "cross_site": Entry(
        403,
        "From another site",
        "The browser sent this change from another site or without the X-Dure-CSRF header, so it was refused: "
        "open the "
        "portal and repeat it there.",
        "다른 사이트에서 보냈거나 X-Dure-CSRF 헤더가 없는 변경 요청이라 거부했습니다. 포털을 열어 다시 시도하세요.",
    ),
    "too_many_streams": Entry(
        429,
        "Too many open streams",
        "{user} already has {limit} live streams open, the most allowed: close some notebooks, portal pages or "
        "`dure logs -f`, then try again.",
        "{user}님의 실시간 스트림이 이미 한도인 {limit}개 열려 있습니다. 노트북, 포털 창 또는 `dure logs -f`를 "
        "닫고 다시 시도하세요.",
    ),
    # Status 0: found on the user's side, before any server answered.
    "not_configured": Entry(
        0,
        "No platform known",
        "No Dure platform is known here: run `dure login URL` with the address of your portal, or start one "
        "with `dure up`.",
        "연결할 Dure 플랫폼이 설정되지 않았습니다. 포털 주소로 `dure login URL`을 실행하거나 `dure up`으로 시작하세요.",
    ),
    "login_needed": Entry(
        0,
        "Not signed in",
        "Dure runs on this machine at {url}, and you are not signed in to it here: open {url} and sign in, then run "
        "`dure login {url}`.",
        "이 컴퓨터의 {url}에서 Dure가 실행 중이지만 여기에는 로그인되어 있지 않습니다. {url}을(를) 열어 로그인한 뒤 "
        "`dure login {url}`을 실행하세요.",
    ),
    "invalid_address": Entry(
        0,
        "Not an address",
        "{url} is no address of a platform: one begins with http:// or https://, such as http://127.0.0.1:8000. Run "
        "`dure login URL` with the address of your portal.",
        "{url}은(는) 플랫폼 주소가 아닙니다. http://127.0.0.1:8000처럼 http:// 또는 https://로 시작해야 합니다. 포털 "
        "주소로 `dure login URL`을 실행하세요.",
    ),
    "unreachable": Entry(
        0,
        "No answer",
        "The Dure platform at {url} does not answer ({reason}); jobs that run there go on. Check the address with "
        "`dure whoami`, or start it with `dure up`.",
        "{url}의 Dure 플랫폼이 응답하지 않습니다({reason}). 실행 중인 작업은 계속됩니다. `dure whoami`로 주소를 "
        "확인하거나 `dure up`으로 시작하세요.",
    ),
    "not_dure": Entry(
        0,
        "Not Dure's answer",
        "What answers at {url} is not a Dure platform of this version ({problem}): check the address, or update with "
        "`pip install -U dure`.",
        "{url}의 응답이 이 버전의 Dure 플랫폼이 아닙니다({problem}). 주소를 확인하거나 `pip install -U dure`로 "
        "업데이트하세요.",
    ),
    "config_unreadable": Entry(
        0,
        "Login file unreadable",
        "The login file {path} cannot be used ({problem}): run `dure login URL` to write it anew.",
        "로그인 파일 {path}을(를) 사용할 수 없습니다({problem}). `dure login URL`을 실행해 다시 만드세요.",
    ),
    "invalid_option": Entry(
        0,
        "Not a valid option",
        "{option} cannot be {value!r}: use {expected}.",
        "{option}에 {value!r}은(는) 사용할 수 없습니다. {expected} 형식을 사용하세요.",
    ),
    "unknown_option": Entry(
        0,
        "Unknown option",
        "There is no option {option}: {hint}.",
        "{option} 옵션은 없습니다. {hint}.",
    ),
    "folder_too_large": Entry(
        0,
        "Folder too large",
        "The folder {folder} has {size} to ship and at most {limit} are allowed; the largest files are {largest}. Add "
        "them to .gitignore, or allow more with --max-size.",
        "{folder} 폴더에서 보낼 파일이 {size}로 한도 {limit}을(를) 넘습니다. 가장 큰 파일: {largest}. .gitignore에 "
        "추가하거나 --max-size로 한도를 늘리세요.",
    ),
    "folder_unreadable": Entry(
        0,
        "Folder unreadable",
        "{path} cannot be read ({problem}), so the folder was not shipped: mend it, or add it to .gitignore.",
        "{path}을(를) 읽을 수 없어({problem}) 폴더를 보내지 않았습니다. 문제를 고치거나 .gitignore에 추가하세요.",
    ),
    "blobs_failed": Entry(
        0,
        "Blob store failed",
        "The blob store did not take or give the bytes: {problem}",
        "블롭 저장소에서 데이터를 주고받지 못했습니다: {problem}",
    ),
    "target_exists": Entry(
        0,
        "File exists",
        "{path} exists already: name another place with -o, or replace it with --force.",
        "{path}이(가) 이미 있습니다. -o로 다른 위치를 지정하거나 --force로 덮어쓰세요.",
    ),
    "target_unwritable": Entry(
        0,
        "Cannot write",
        "{path} cannot be written ({problem}): name another place with -o.",
        "{path}에 쓸 수 없습니다({problem}). -o로 다른 위치를 지정하세요.",
    ),
    "server_not_installed": Entry(
        0,
        "Server not installed",
        "`dure {command}` belongs to the server, which is not installed here: run `pip install 'dure[server,hub]'`.",
        "`dure {command}`은(는) 서버 명령인데 서버가 설치되어 있지 않습니다. `pip install "
        "'dure[server,hub]'`를 실행하세요.",
    ),
    "internal_error": Entry(
        500,
        "Defect in Dure",
        "Something inside Dure failed ({incident}) and nothing of yours was lost: try again, and send this "
        "number to your administrator, who finds it in the log.",
        "Dure 내부 오류({incident})가 발생했습니다. 데이터는 손실되지 않았으니 다시 시도하고, 이 번호를 "
        "관리자에게 알려 주세요.",
    ),
}
