"""Why a value was not saved or loaded, an attempt did not run or a request was refused, in the reader's language.

Snapshots, workers and executors write these sentences down in English, since who will read them is not known there: one
text in every manifest and result. The trap: a sentence that is changed there must be changed here, too;
tests/architecture/test_retold.py finds each in their source.
"""

from __future__ import annotations

from collections.abc import Mapping

from dure.wire.retelling import Retelling

_VALUES: Mapping[str, str] = {
    # what belongs to a module
    "a copy of {place}, which is not there now or is of another type": (
        "지금은 {place}이(가) 없거나 형(type)이 달라 복사본으로 복원했습니다"
    ),
    "a copy of {place}, which is the same object as another one here": (
        "저장할 때는 서로 다른 객체였던 것이 여기서는 하나여서 {place}의 복사본으로 복원했습니다"
    ),
    "a copy of what {place} was: that is another object here": (
        "여기의 {place}은(는) 저장할 때와 내용이 달라 저장된 것을 복사본으로 복원했습니다"
    ),
    "a copy of {place}: other variables hold it, too": (
        "다른 변수도 이 객체를 가지고 있어 {place}의 복사본으로 복원했습니다"
    ),
    "it is as {module} has it now, whose file has changed since: what was saved is not put back": (
        "저장한 뒤 {module} 파일이 바뀌어 지금 모듈의 값을 쓰고 저장된 내용은 되돌리지 않았습니다"
    ),
    # what cannot be saved
    "a thread: threads live in one process only": "스레드: 한 프로세스 안에만 있습니다",
    "a lock: locks hold threads of one process only": "잠금(lock): 한 프로세스 안에서만 유효합니다",
    "an executor: its workers live in one process only": "실행기(executor): 작업자가 한 프로세스 안에만 있습니다",
    "a future: what computes it lives in one process only": "퓨처(future): 계산하는 쪽이 한 프로세스 안에만 있습니다",
    "a process of this machine": "이 컴퓨터의 프로세스",
    "a process pool of this machine": "이 컴퓨터의 프로세스 풀",
    "a queue between processes of this machine": "이 컴퓨터의 프로세스 간 큐",
    "a network connection": "네트워크 연결",
    "a TLS context, which may hold keys": "키가 들어 있을 수 있는 TLS 컨텍스트",
    "a selector of open connections": "열린 연결의 셀렉터",
    "a database connection": "데이터베이스 연결",
    "a cursor of a database connection": "데이터베이스 연결의 커서",
    "a database engine with open connections": "연결이 열린 데이터베이스 엔진",
    "an event loop": "이벤트 루프",
    "an asyncio future: its loop lives in one process only": "asyncio 퓨처: 루프가 한 프로세스 안에만 있습니다",
    "an asyncio task: its loop lives in one process only": "asyncio 태스크: 루프가 한 프로세스 안에만 있습니다",
    "a weak proxy: it cannot keep what it stands for": "약한 프록시: 가리키는 객체를 붙잡아 두지 못합니다",
    "a weak reference: it cannot keep what it points to": "약한 참조: 가리키는 객체를 붙잡아 두지 못합니다",
    "a finalizer: it runs when this process lets go of something": (
        "종료 처리기(finalizer): 이 프로세스가 객체를 놓을 때 실행됩니다"
    ),
    "a temporary folder, which is deleted with this process": "이 프로세스와 함께 삭제되는 임시 폴더",
    "memory shared between processes of this machine": "이 컴퓨터의 프로세스들이 공유하는 메모리",
    "a compiled template: keep its text and make it again": "컴파일된 템플릿: 원문을 두었다가 다시 만드세요",
    "a bokeh plot: run the cell that draws it again": "bokeh 그림: 그리는 셀을 다시 실행하세요",
    "a client with connections and credentials: make it again after the restore": (
        "연결과 자격 증명을 가진 클라이언트: 복원한 뒤 다시 만드세요"
    ),
    "an open shelf: open it again after the restore": "열린 shelf: 복원한 뒤 다시 여세요",
    "an open database: open it again after the restore": "열린 데이터베이스: 복원한 뒤 다시 여세요",
    "what sys tells of this Python: ask it again after the restore": (
        "sys가 이 파이썬에 대해 알려 주는 값: 복원한 뒤 다시 물어보세요"
    ),
    "an open archive": "열린 압축 파일",
    "an open file: open it again after the restore": "열린 파일: 복원한 뒤 다시 여세요",
    "a memory-mapped file": "메모리에 매핑된 파일",
    "a C library, loaded into this process: load it again after the restore": (
        "이 프로세스에 로드된 C 라이브러리: 복원한 뒤 다시 로드하세요"
    ),
    "pint's application registry: pint.get_application_registry() gives that of the process again": (
        "pint의 애플리케이션 레지스트리: pint.get_application_registry()로 다시 얻을 수 있습니다"
    ),
    "a part of a plotly figure that this figure does not have; copy.deepcopy(…) of it can be saved": (
        "plotly 그림에 더 이상 없는 부분. copy.deepcopy(…)로 복사하면 저장할 수 있습니다"
    ),
    "a progress bar on this output": "이 출력의 진행 표시줄",
    "a widget's line to the browser: run the cell that makes the widget again": (
        "위젯과 브라우저의 연결: 위젯을 만드는 셀을 다시 실행하세요"
    ),
    "it was registered with a library: run its cell again": (
        "라이브러리에 등록되어 있었습니다: 해당 셀을 다시 실행하세요"
    ),
    "it cannot be registered again ({error})": "다시 등록할 수 없습니다({error})",
    "a CUDA stream": "CUDA 스트림",
    "a CUDA event": "CUDA 이벤트",
    "a CUDA graph": "CUDA 그래프",
    "the notebook's own shell": "노트북 자체의 셸",
    "the notebook's own module": "노트북 자체의 모듈",
    "a generator: its position in its code cannot be saved; make it a list": (
        "제너레이터: 코드 안의 현재 위치를 저장할 수 없습니다. 리스트로 바꾸세요"
    ),
    "a coroutine: its position in its code cannot be saved; await it first": (
        "코루틴: 코드 안의 현재 위치를 저장할 수 없습니다. 먼저 await하세요"
    ),
    "an iterator: its position cannot be saved; make it a list": (
        "이터레이터: 현재 위치를 저장할 수 없습니다. 리스트로 바꾸세요"
    ),
    "a traceback or frame of running code": "실행 중인 코드의 트레이스백이나 프레임",
    "it is nested too deeply to be saved": "너무 깊이 중첩되어 저장할 수 없습니다",
    "an array on a memory-mapped file; numpy.array(…) of it holds its content and can be": (
        "메모리에 매핑된 파일 위의 배열. numpy.array(…)로 복사하면 저장할 수 있습니다"
    ),
    "an array on a part of another array's memory; numpy.array(…) of it can be saved": (
        "다른 배열의 메모리와 일부만 겹치는 배열. numpy.array(…)로 복사하면 저장할 수 있습니다"
    ),
    "a value of C on memory of which the owner is not known; type(x).from_buffer_copy(x) can be saved": (
        "주인을 알 수 없는 메모리 위의 C 값. type(x).from_buffer_copy(x)로 복사하면 저장할 수 있습니다"
    ),
    "a value of C that ctypes.resize(…) gave more memory; its bytes can be saved: bytes(memoryview(x))": (
        "ctypes.resize(…)로 메모리를 늘린 C 값. 그 바이트 bytes(memoryview(x))는 저장할 수 있습니다"
    ),
    "a tensor on a part of another tensor's memory; x.clone() can be saved": (
        "다른 텐서의 메모리와 일부만 겹치는 텐서. x.clone()은 저장할 수 있습니다"
    ),
    "an array whose size another thread changes meanwhile; save again when that has ended": (
        "저장하는 동안 다른 스레드가 크기를 바꾸는 배열. 그 작업이 끝난 뒤 다시 저장하세요"
    ),
    "a view of an object array in another layout; copy it to save it": (
        "배치가 다른 객체 배열의 뷰. 복사하면 저장할 수 있습니다"
    ),
    "a view of an array of texts in another layout; copy it to save it": (
        "배치가 다른 문자열 배열의 뷰. 복사하면 저장할 수 있습니다"
    ),
    "a tensor with its autograd graph; its .detach() can be saved": (
        "autograd 그래프가 붙은 텐서. .detach()한 텐서는 저장할 수 있습니다"
    ),
    (
        "The autograd graph of a tensor ({node}) stayed behind when it was saved or went to or came from a GPU cell: "
        "only its value is here. Compute it and call .backward() in one cell, or in cells with %%gpu --keep 5m."
    ): (
        "텐서({node})가 저장되거나 GPU 셀을 오갈 때 autograd 그래프는 남고 값만 왔습니다. "
        "계산과 .backward()를 한 셀에서 하거나 두 셀 모두 %%gpu --keep 5m으로 실행하세요."
    ),
    "a type alias with parameters that names itself: run its cell again": (
        "자기 자신을 가리키는, 매개변수가 있는 타입 별칭. 그 셀을 다시 실행하세요"
    ),
    "{name} is a type alias, which Python 3.11 does not know: use Python 3.12 or newer": (
        "{name}은(는) Python 3.11에 없는 타입 별칭입니다. Python 3.12 이상을 쓰세요"
    ),
    "a memoryview of a {kind}; bytes(…) of it can be saved": (
        "{kind}의 memoryview. bytes(…)로 바꾸면 저장할 수 있습니다"
    ),
    "a memoryview of an array that is not contiguous; bytes(…) of it can be saved": (
        "연속되지 않은 배열의 memoryview. bytes(…)로 바꾸면 저장할 수 있습니다"
    ),
    "a read-only memoryview of writable memory; bytes(…) of it can be saved": (
        "쓸 수 있는 메모리의 읽기 전용 memoryview. bytes(…)로 바꾸면 저장할 수 있습니다"
    ),
    "a msgspec Struct of the notebook: define it in a module and import it": (
        "노트북에서 정의한 msgspec Struct: 모듈에 정의하고 import하세요"
    ),
    "a namespace whose attributes are held as a dictionary, too; dict(…) of that can be saved": (
        "속성이 딕셔너리로도 쓰이고 있는 네임스페이스. 그 딕셔너리를 dict(…)로 복사하면 저장할 수 있습니다"
    ),
    "an object whose attributes are held as a dictionary, too; dict(…) of that can be saved": (
        "속성이 딕셔너리로도 쓰이고 있는 객체. 그 딕셔너리를 dict(…)로 복사하면 저장할 수 있습니다"
    ),
    "its own way of being pickled would part it from what {name} holds, too": (
        "이 객체는 자체 피클 방식 때문에 {name}과(와) 함께 쓰는 객체에서 떨어지게 됩니다"
    ),
    "a logger with handlers: set it up again after the restore": ("핸들러가 붙은 로거: 복원한 뒤 다시 설정하세요"),
    "its hash comes from objects that may hold it in a set or as a key, so it would not be found there again": (
        "이 객체의 해시를 정하는 객체들이 이 객체를 집합에 담거나 키로 쓸 수 있어, 복원하면 찾지 못하게 됩니다"
    ),
    "its class {name} cannot be saved ({why})": "클래스 {name}을(를) 저장할 수 없습니다({why})",
    "{kind} cannot be saved ({why})": "{kind} 객체는 저장할 수 없습니다({why})",
    "cannot pickle '{kind}' object": "'{kind}' 객체는 피클할 수 없음",
    "ctypes objects containing pointers cannot be pickled": "포인터가 든 ctypes 객체는 피클할 수 없음",
    # secrets
    "its name says that it is a secret, and secrets are not saved": "이름을 보면 비밀값이며 비밀값은 저장하지 않습니다",
    "it looks like an access key, and secrets are not saved": "액세스 키로 보이며 비밀값은 저장하지 않습니다",
    "it holds the environment variable {name}, and secrets are not saved": (
        "환경 변수 {name}의 값이 들어 있으며 비밀값은 저장하지 않습니다"
    ),
    "it was typed into getpass, and secrets are not saved": "getpass로 입력한 비밀값은 저장하지 않습니다",
    "somewhere inside it is an access key, which is not saved": "안에 액세스 키가 있으며 비밀값은 저장하지 않습니다",
    "a secret, and secrets are not saved": "비밀값은 저장하지 않습니다",
    "its text holds {name}, and secrets are not saved": (
        "셀의 코드에 {name} 값이 적혀 있으며 비밀값은 저장하지 않습니다"
    ),
    "its text holds an address with a password, and secrets are not saved": (
        "셀의 코드에 비밀번호가 든 주소가 있으며 비밀값은 저장하지 않습니다"
    ),
    "its text holds what looks like an access key, and secrets are not saved": (
        "셀의 코드에 액세스 키로 보이는 것이 있으며 비밀값은 저장하지 않습니다"
    ),
    "credentials, which are not saved": "자격 증명은 저장하지 않습니다",
    "a copy of the environment variables, which may hold keys": "환경 변수의 사본에는 키가 있을 수 있습니다",
    "{reason}; set it again after the restore, or keep the secret in a variable of its own": (
        "{reason}. 복원한 뒤 다시 설정하거나 비밀값을 별도의 변수에 두세요"
    ),
    "{reason}; set it again after the restore": "{reason}. 복원한 뒤 다시 설정하세요",
    # what does not load
    "{reason} ({more}: an environment with that version restores it)": (
        "{reason} ({more}: 그 버전이 있는 환경에서 복원됩니다)"
    ),
    "saved with {name} {then}, here is none": "저장 당시 {name} {then}, 현재 없음",
    "saved with {name} {then}, here is {now}": "저장 당시 {name} {then}, 현재 {now}",
    "its package cannot load it here ({name})": "이 환경의 패키지로는 불러올 수 없습니다({name})",
    "it needs the module {name}, which the package of that name here does not have": (
        "{name} 모듈이 필요한데, 여기에 설치된 패키지에는 없습니다"
    ),
    "it needs the package {name}, which is not installed here: add it to the environment": (
        "여기에 없는 {name} 패키지가 필요합니다. 환경에 추가하세요"
    ),
    "a function saved by {before} cannot run on {here}: use an environment with the same Python minor version": (
        "{before}에서 저장한 함수는 {here}에서 실행할 수 없습니다. Python 마이너 버전이 같은 환경을 쓰세요"
    ),
    "a class that it is an instance of is not in the snapshot": "이 객체의 클래스가 스냅샷에 없습니다",
    "{name} is not defined in the notebook": "노트북에 {name}이(가) 정의되어 있지 않습니다",
    "it is not in this snapshot": "이 스냅샷에 없습니다",
    "it left none": "남긴 결과가 없습니다",
    "This pickle is a part of a Dure snapshot: load it with dure.state.restore.": (
        "이 피클은 Dure 스냅샷의 일부입니다. dure.state.restore로 읽으세요."
    ),
    "there is no CUDA device here": "여기에는 CUDA 장치가 없습니다",
    "{count} devices were saved and {here} are here": "장치 {count}개가 저장되었지만 여기에는 {here}개가 있습니다",
    "the folder {path} is not here": "{path} 폴더가 여기에 없습니다",
    "this Dure does not know it": "여기의 Dure는 이 설정을 모릅니다",
    "this matplotlib does not know {names}": "여기의 matplotlib에는 {names} 설정이 없습니다",
    "the saved group does not hold what its manifest says": "저장된 내용이 매니페스트와 다릅니다",
    "a part of the saved group does not hold what its manifest says": "저장된 내용의 한 부분이 매니페스트와 다릅니다",
    "a part of the snapshot's manifest is damaged (its hash differs)": (
        "스냅샷 매니페스트의 일부가 손상되었습니다(해시가 다름)"
    ),
    "a blob has {size} bytes where {expected} were saved: save the snapshot again": (
        "블롭이 저장할 때는 {expected}바이트였지만 지금은 {size}바이트입니다. 스냅샷을 다시 저장하세요"
    ),
    "blob {digest} is damaged (its hash differs): save the snapshot again": (
        "블롭 {digest}이(가) 손상되었습니다(해시가 다름). 스냅샷을 다시 저장하세요"
    ),
    "blob {digest}… {why}: restore another version": "블롭 {digest}… {why}. 다른 버전을 복원하세요",
    "is damaged (its hash differs)": "손상되었습니다(해시가 다름)",
    "cannot be read ({problem})": "읽을 수 없습니다({problem})",
    "{path} has {size} bytes where {expected} were saved": (
        "{path} 파일이 저장할 때는 {expected}바이트였지만 지금은 {size}바이트입니다"
    ),
    "cannot map {size} bytes: {problem}": "{size}바이트를 메모리에 매핑할 수 없습니다({problem})",
    "the memory at {address} cannot be read": "메모리 {address}을(를) 읽을 수 없습니다",
    "the kernel's scan of this process's pages stands still": "이 프로세스의 페이지를 훑는 커널 작업이 멈추었습니다",
    "This state was saved or closed already: freeze the namespace again.": "이 상태는 이미 저장되었거나 닫혔습니다.",
}

_BLOBS: Mapping[str, str] = {
    "Blob access of kind {kind} is not known: write kind: folder or kind: s3.": (
        "알 수 없는 블롭 저장소 종류 {kind}입니다. kind: folder 또는 kind: s3로 적으세요."
    ),
    "Blob {digest} is not in {where}: {why}; save it again from where it came.": (
        "{where}에 블롭 {digest}이(가) 없습니다({why}). 원래 있던 곳에서 다시 저장하세요."
    ),
    "it was removed, or never written with this team's key": "삭제되었거나 이 팀의 키로 쓰인 적이 없음",
    "it was removed or never written": "삭제되었거나 쓰인 적이 없음",
    "Blob {digest} at {where} is damaged (its hash differs): remove that object and save it again.": (
        "{where}의 블롭 {digest}이(가) 손상되었습니다(해시가 다름). 그 객체를 지우고 다시 저장하세요."
    ),
    "{digest} is not a blob digest: it must be 64 characters of 0-9 and a-f.": (
        "{digest}은(는) 블롭 다이제스트가 아닙니다. 0-9와 a-f로 된 64자여야 합니다."
    ),
    "This team's blobs cannot be opened ({why}): ask the administrator for a valid key.": (
        "이 팀의 블롭을 열 수 없습니다({why}). 관리자에게 올바른 키를 요청하세요."
    ),
    "a blob key has {size} bytes and this one {found}": "블롭 키는 {size}바이트여야 하는데 {found}바이트임",
    "Blob {digest} at {where} cannot be opened: {why}.": "{where}의 블롭 {digest}을(를) 열 수 없습니다: {why}.",
    "Blob {digest} in {where} cannot be read: {problem}.": "{where}의 블롭 {digest}을(를) 읽을 수 없습니다: {problem}.",
    "Blob {digest} has {size} bytes, more than was saved of it.": (
        "블롭 {digest}이(가) {size}바이트로, 저장한 것보다 큽니다."
    ),
    "The object store {where} does not answer ({problem}): check that it runs with `dure doctor`.": (
        "객체 저장소 {where}이(가) 응답하지 않습니다({problem}). 실행 중인지 `dure doctor`로 확인하세요."
    ),
    "The object store {where} refused blob {digest} ({problem}): check that it runs and that the credentials are valid "
    "with `dure doctor`.": (
        "객체 저장소 {where}이(가) 블롭 {digest}을(를) 거절했습니다({problem}). 실행 중인지, 자격 증명이 올바른지 "
        "`dure doctor`로 확인하세요."
    ),
    "The results wait here, for up to {seconds} s.": "결과는 최대 {seconds}초 동안 여기서 기다립니다.",
    "{folder} cannot be written: {why}, then try again.": "{folder}에 쓸 수 없습니다: {why} 다시 시도하세요.",
    "the disk is full: free some space": "디스크가 가득 찼습니다. 공간을 확보한 뒤",
    "the disk quota is used up: free some space or ask for more": (
        "디스크 할당량을 다 썼습니다. 공간을 확보하거나 늘려 달라고 한 뒤"
    ),
    "permission is denied: check its owner and group": "권한이 없습니다. 소유자와 그룹을 확인한 뒤",
    "the disk reports an error: check it, or choose another folder": (
        "디스크 오류입니다. 디스크를 점검하거나 다른 폴더를 고른 뒤"
    ),
    "the file system is read-only: choose another folder": "읽기 전용 파일 시스템입니다. 다른 폴더를 고른 뒤",
    "its file server does not answer: mount it again": "파일 서버가 응답하지 않습니다. 다시 마운트한 뒤",
    "it has more than one frame": "프레임이 둘 이상입니다",
    "a part of it is missing": "일부가 없습니다",
    "a part of it is damaged": "일부가 손상되었습니다",
    "its header is cut short": "헤더가 잘렸습니다",
    "it is longer than it says": "적힌 길이보다 깁니다",
    "it is encrypted and no key was given": "암호화되어 있는데 키가 없습니다",
    "it does not open with this team's key: it is damaged, or another key wrote it": (
        "이 팀의 키로 열리지 않습니다. 손상되었거나 다른 키로 쓰였습니다"
    ),
    "a newer dure wrote it: update dure here": "더 새로운 dure가 썼습니다. 여기의 dure를 업데이트하세요",
    "it is compressed and this Python has no zstd: type pip install zstandard": (
        "압축되어 있는데 이 Python에 zstd가 없습니다. pip install zstandard를 실행하세요"
    ),
    "it is encrypted and cryptography is not installed: type pip install cryptography": (
        "암호화되어 있는데 cryptography가 없습니다. pip install cryptography를 실행하세요"
    ),
    "The manifest has {size} bytes; at most {limit} are read.": (
        "매니페스트가 {size}바이트입니다. 최대 {limit}바이트까지 읽습니다."
    ),
    "These bytes are not a snapshot's manifest: {problem}.": "스냅샷 매니페스트가 아닙니다: {problem}.",
    "This JSON is not a snapshot's manifest: its format is not 'dure.snapshot'.": (
        "스냅샷 매니페스트가 아닙니다. 형식이 'dure.snapshot'이 아닙니다."
    ),
    "The snapshot has format version {version} and this dure reads {ours}: install the dure that wrote it.": (
        "스냅샷의 형식 버전은 {version}이고 이 dure는 {ours}을(를) 읽습니다. 스냅샷을 쓴 dure를 설치하세요."
    ),
    "The snapshot's manifest is damaged: a variable is in a group that is not there.": (
        "스냅샷 매니페스트가 손상되었습니다. 변수가 없는 그룹에 속해 있습니다."
    ),
    "The snapshot's manifest is damaged: {problem} at {where}.": (
        "스냅샷 매니페스트가 손상되었습니다({where}: {problem})."
    ),
}

_ENVIRONMENTS: Mapping[str, str] = {
    "The notebook runs {implementation} {here} and the environment {other} {there}: functions and classes cannot cross "
    "between minor versions; choose an environment with Python {version}.": (
        "노트북은 {implementation} {here}, 환경은 {other} {there}입니다. 함수와 클래스는 마이너 버전이 다르면 오갈 수 "
        "없습니다. Python {version} 환경을 고르세요."
    ),
    "The cell needs {name} {version}, which the environment does not have: add {same} to it or choose another "
    "environment.": (
        "셀에 필요한 {name} {version}이(가) 환경에 없습니다. 환경에 {same}을(를) 추가하거나 다른 환경을 고르세요."
    ),
    "The notebook has {name} {here} and the environment {same} {there}: values may not load across major versions; "
    "choose an environment with {again} {version}.": (
        "노트북의 {name}은(는) {here}, 환경의 {same}은(는) {there}입니다. 메이저 버전이 다르면 값을 읽지 못할 수 "
        "있습니다. {again} {version} 환경을 고르세요."
    ),
    "The environment '{environment}' cannot take over what the cell needs: {more}": (
        "'{environment}' 환경에서 셀에 필요한 값을 읽을 수 없습니다: {more}"
    ),
    "The environment '{environment}' cannot take over what the function needs: {more}": (
        "'{environment}' 환경에서 함수에 필요한 값을 읽을 수 없습니다: {more}"
    ),
    "This job was sent from Python {here}, but the environment '{environment}' has Python {there}: values pickled by "
    "one cannot be trusted in the other. Choose an environment with Python {same} (`--env NAME`) or start the notebook "
    "with Python {again}.": (
        "이 작업은 Python {here}에서 보냈지만 '{environment}' 환경은 Python {there}입니다. 한쪽에서 피클한 값을 다른 "
        "쪽에서 믿을 수 없습니다. Python {same} 환경을 고르거나(`--env NAME`) 노트북을 Python {again}(으)로 시작하세요."
    ),
    "environment {environment} cannot be started: {problem}; check its `python` in platform.yaml ({python})": (
        "{environment} 환경을 시작할 수 없습니다: {problem}. platform.yaml의 `python`({python})을 확인하세요"
    ),
    "environment {environment} did not get ready in {seconds} s; see its log": (
        "{environment} 환경이 {seconds}초 안에 준비되지 않았습니다. 로그를 확인하세요"
    ),
    "environment {environment} ended at its start (exit {code}): {problem}; run `{python} -m pip install dure` if dure "
    "is missing there": (
        "{environment} 환경이 시작하자마자 끝났습니다(종료 코드 {code}): {problem}. dure가 없으면 `{python} -m "
        "pip install dure`를 실행하세요"
    ),
    "the fork server of {environment} refused: {more}": "{environment} 환경의 포크 서버가 거절했습니다: {more}",
    "the fork server of {environment} was killed by signal {number}": (
        "{environment} 환경의 포크 서버가 시그널 {number}(으)로 종료되었습니다"
    ),
    "{user} has no account on this machine: {problem}": "{user}의 계정이 이 컴퓨터에 없습니다: {problem}",
}

_ATTEMPTS: Mapping[str, str] = {
    "The cell was interrupted.": "셀이 중단되었습니다.",
    "The function was interrupted.": "함수가 중단되었습니다.",
    "The job was interrupted.": "작업이 중단되었습니다.",
    "The job was stopped.": "작업이 중지되었습니다.",
    "The job was interrupted twice: it did not stop at the first interrupt and was killed.": (
        "첫 번째 중단에 멈추지 않아 두 번째 중단에서 작업을 강제 종료했습니다."
    ),
    "The job ran longer than its time limit of {seconds} s. Ask for more with --timeout.": (
        "작업이 제한 시간 {seconds}초를 넘었습니다. --timeout으로 늘리세요."
    ),
    "The job used more memory than its limit of {size} GiB and was ended. Ask for more, or load less.": (
        "작업이 메모리 한도 {size}GiB를 넘어 종료되었습니다. 더 요청하거나 한 번에 적게 읽으세요."
    ),
    "The process was killed from outside (SIGKILL): usually the machine ran out of memory.": (
        "프로세스가 밖에서 강제 종료되었습니다(SIGKILL). 보통 메모리 부족입니다."
    ),
    "The process ended itself with exit code {code}; its variables are lost.": (
        "프로세스가 종료 코드 {code}(으)로 스스로 끝나 변수가 사라졌습니다."
    ),
    "The process died of {signal}, a crash in compiled code or a signal.": (
        "프로세스가 {signal}(으)로 죽었습니다(컴파일된 코드의 오류 또는 신호)."
    ),
    "The process ended with exit code {code}.": "프로세스가 종료 코드 {code}(으)로 끝났습니다.",
    "Rank {rank} on node {node}: {more}": "노드 {node}의 랭크 {rank}: {more}",
    "The variables of the cell cannot be fetched: {more}": "셀의 변수를 가져올 수 없습니다: {more}",
    "The function cannot be fetched: {more}": "함수를 가져올 수 없습니다: {more}",
    "The function ended well, but its result cannot be sent back: {more}": (
        "함수는 정상 종료되었지만 결과를 돌려보낼 수 없습니다: {more}"
    ),
    "name '{name}' is not defined on the worker, {why}": "워커에 '{name}' 이름이 없습니다. {why}",
    "The cell looks at all variables at once (globals(), dir() or the like), {why}": (
        "셀이 모든 변수를 한꺼번에 살펴봅니다(globals(), dir() 등). {why}"
    ),
    "and the notebook did not send it within {seconds} s": "노트북이 {seconds}초 안에 보내지 않았습니다",
    "and a process that the cell has forked cannot ask the notebook: name in the cell what it needs": (
        "셀이 포크한 프로세스는 노트북에 물을 수 없으니 필요한 이름을 셀에 적으세요"
    ),
    "Nobody can answer: this process was forked, or the input was closed.": (
        "답할 사람이 없습니다. 포크된 프로세스이거나 입력이 닫혔습니다."
    ),
    "The shipped folder has the path '{path}', which leaves it: refused.": (
        "보낸 폴더의 경로 '{path}'이(가) 폴더 밖을 가리켜 거절했습니다."
    ),
    "The shipped folder has '{path}', which is a link or a special file: refused.": (
        "보낸 폴더의 '{path}'이(가) 링크나 특수 파일이라 거절했습니다."
    ),
    "The shipped folder is no readable zip ({problem}). Submit the job again.": (
        "보낸 폴더를 읽을 수 없습니다({problem}). 작업을 다시 제출하세요."
    ),
    "The shipped folder has more than {limit} files: exclude some (.gitignore).": (
        "보낸 폴더의 파일이 {limit}개를 넘습니다. 일부를 제외하세요(.gitignore)."
    ),
    "The shipped folder unpacks to more than is allowed: exclude large files (.gitignore).": (
        "보낸 폴더의 압축을 풀면 허용된 크기를 넘습니다. 큰 파일을 제외하세요(.gitignore)."
    ),
    "The command is empty: write the program after `--`.": "명령이 비어 있습니다. `--` 뒤에 프로그램을 쓰세요.",
    "The program '{program}' was not found in the environment '{environment}' or in the folder.": (
        "'{program}' 프로그램이 '{environment}' 환경에도 폴더에도 없습니다."
    ),
    "The folder {path} cannot be entered on this node ({problem}).": (
        "이 노드에서 {path} 폴더에 들어갈 수 없습니다({problem})."
    ),
    "Dure: the folder {path} is not on this node ({problem}); the cell runs in {place}.": (
        "Dure: {path} 폴더가 이 노드에 없어({problem}) 셀을 {place}에서 실행합니다."
    ),
    "{path} cannot be read: {problem}. Submit the job again.": (
        "{path}을(를) 읽을 수 없습니다: {problem}. 작업을 다시 제출하세요."
    ),
    "{path} is not valid JSON ({problem}). Submit the job again.": (
        "{path}은(는) 올바른 JSON이 아닙니다({problem}). 작업을 다시 제출하세요."
    ),
    "{path} is not a valid attempt: {problem}: {detail}.": "{path}은(는) 올바른 작업이 아닙니다: {problem}: {detail}.",
    "None of {count} ports of this machine is free for the job's processes to meet. Run it again when other jobs have "
    "ended.": ("작업의 프로세스가 만날 포트 {count}개가 모두 사용 중입니다. 다른 작업이 끝난 뒤 다시 실행하세요."),
    "The runner of this job failed ({problem}: {detail}). See the log of the fork server.": (
        "작업의 실행기가 실패했습니다({problem}: {detail}). 포크 서버의 로그를 확인하세요."
    ),
    "The job's data could not be restored within {seconds} s. Run it again.": (
        "작업의 데이터를 {seconds}초 안에 복원하지 못했습니다. 다시 실행하세요."
    ),
    "The output of the job could not be written to {path} ({problem}): the job was ended. Free space there (`df -h "
    "{same}`) and run it again.": (
        "작업의 출력을 {path}에 쓸 수 없어({problem}) 작업을 종료했습니다. 공간을 확보하고(`df -h {same}`) 다시 "
        "실행하세요."
    ),
    "{path} cannot be written ({problem}). Free space there.": "{path}에 쓸 수 없습니다({problem}). 공간을 확보하세요.",
    "The disk of {path} is full ({problem}): what the job left could not be listed.": (
        "{path}의 디스크가 가득 차({problem}) 작업이 남긴 것을 기록하지 못했습니다."
    ),
    "More than {limit} files under $DURE_OUTPUT_DIR: pack them into one archive.": (
        "$DURE_OUTPUT_DIR 아래 파일이 {limit}개를 넘습니다. 하나의 압축 파일로 묶으세요."
    ),
    "Dure could not keep {path}: {more}": "Dure가 {path}을(를) 보관하지 못했습니다: {more}",
    "dure: {name}: {more}": "dure: {name}: {more}",
    "No process is kept here for a next cell.": "다음 셀을 위해 유지하는 프로세스가 없습니다.",
    "This process was kept for too long or printed too much to take another cell.": (
        "이 프로세스는 너무 오래 유지되었거나 출력이 많아 셀을 더 받지 않습니다."
    ),
}

_REQUESTS: Mapping[str, str] = {
    "cursor {value} is not one that this server gave": "{value}은(는) 이 서버가 준 커서가 아닙니다",
    "the message has no 'cell'": "메시지에 'cell'이 없습니다",
    "its payload has no {field}": "내용에 {field} 항목이 없습니다",
    "argv is not a list of at least one text": "argv가 비어 있거나 문자열의 목록이 아닙니다",
    "keep_s is for cells, and not together with retries: what is kept cannot be started again": (
        "keep_s는 셀에만, retries 없이 쓸 수 있습니다. 유지된 것은 다시 시작할 수 없습니다"
    ),
    "a person's name has letters, digits and . _ @ - only": "이름에는 글자, 숫자와 . _ @ -만 쓸 수 있습니다",
    "its name is not UTF-8": "이름이 UTF-8이 아님",
    "it would lie outside the folder": "폴더 밖에 놓이게 됨",
    "it cannot be read": "읽을 수 없음",
    "no reason given": "이유를 알 수 없음",
}

retold = Retelling(_VALUES, _BLOBS, _ENVIRONMENTS, _ATTEMPTS, _REQUESTS)
