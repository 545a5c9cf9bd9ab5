# Runs data/download.cmake on a small archive behind a file:// URL. SCRIPT is that script, WORK a
# directory that this test may delete.
file(REMOVE_RECURSE "${WORK}")

# The archive: two files in the official folder.
set(source "${WORK}/source")
file(WRITE "${source}/cifar-100-binary/train.bin" "twelve bytes")
file(WRITE "${source}/cifar-100-binary/fine_label_names.txt" "apple\n")
set(archive "${source}/small.tar.gz")
execute_process(
  COMMAND "${CMAKE_COMMAND}" -E tar czf "${archive}" cifar-100-binary
  WORKING_DIRECTORY "${source}" COMMAND_ERROR_IS_FATAL ANY)
file(MD5 "${archive}" md5)

set(target "${WORK}/target")
set(folder "${target}/cifar-100-binary")

# download(<expected output> <may it succeed> arguments...)
function(download expected_text succeeds)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -DDIRECTORY=${target} ${ARGN} -P "${SCRIPT}"
    RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE error)
  # The error comes wrapped into lines.
  string(REGEX REPLACE "[ \n]+" " " text "${output} ${error}")
  if(succeeds AND NOT code EQUAL 0 OR NOT succeeds AND code EQUAL 0)
    message(FATAL_ERROR "exit status ${code}: ${text}")
  endif()
  string(FIND "${text}" "${expected_text}" position)
  if(position EQUAL -1)
    message(FATAL_ERROR "expected '${expected_text}' in: ${text}")
  endif()
endfunction()

# expect_files(<name>...): the target directory holds these and nothing else.
function(expect_files)
  file(GLOB found RELATIVE "${target}" "${target}/*")
  if(NOT "${found}" STREQUAL "${ARGN}")
    message(FATAL_ERROR "found '${found}', expected '${ARGN}'")
  endif()
endfunction()

set(small -DDATASET=cifar100 -DURL=file://${archive} -DMD5=${md5})
set(files "-DFILES=train.bin=12\;fine_label_names.txt=any")

download("DATASET is 'mnist', expected cifar10 or cifar100" FALSE -DDATASET=mnist)
download("DIRECTORY is not given" FALSE -DDATASET=cifar10 -UDIRECTORY)
download("cannot download file://${WORK}/none" FALSE
  -DDATASET=cifar100 -DURL=file://${WORK}/none)
expect_files()
download("has MD5 ${md5}, expected 03b5dce01913d631647c71ecec9e9cb8; nothing was kept" FALSE
  -DDATASET=cifar100 -DURL=file://${archive})
expect_files()

# A verified archive is kept when its contents are a surprise, and not downloaded again.
download("train.bin has 12 bytes, expected 13" FALSE ${small} "-DFILES=train.bin=13")
expect_files(cifar-100-binary.tar.gz)
download("cifar-100-binary/test.bin is missing" FALSE ${small} "-DFILES=test.bin=any")
download("cifar-100-binary is complete" TRUE
  -DDATASET=cifar100 -DURL=file://${WORK}/none -DMD5=${md5} ${files})
expect_files(cifar-100-binary)

# What is there is left alone, or refused.
download("cifar-100-binary is complete" TRUE -DDATASET=cifar100 -DURL=file://${WORK}/none ${files})
file(WRITE "${folder}/train.bin" "short")
download("train.bin has 5 bytes, expected 12. Remove ${folder} to download it again" FALSE
  ${small} ${files})
file(REMOVE "${folder}/train.bin")
download("train.bin is missing" FALSE ${small} ${files})

# A download that was interrupted while unpacking.
file(REMOVE_RECURSE "${folder}")
file(WRITE "${folder}.partial/cifar-100-binary/junk" "")
file(WRITE "${target}/cifar-100-binary.tar.gz" "incomplete")
download("cifar-100-binary is complete" TRUE ${small} ${files})
expect_files(cifar-100-binary)
file(READ "${folder}/train.bin" content)
if(NOT content STREQUAL "twelve bytes" OR EXISTS "${folder}/junk")
  message(FATAL_ERROR "wrong contents: ${content}")
endif()

file(REMOVE_RECURSE "${WORK}")
