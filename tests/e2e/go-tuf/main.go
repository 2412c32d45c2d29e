// Prints how go-tuf reads documents. Reads one document a line, {"kind", "text"}, and answers each
// with a line: the canonical form of what it read, in hexadecimal, or null if it can't read it.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

func form(kind string, text []byte) ([]byte, error) {
	if kind == "root" {
		var file metadata.Metadata[metadata.RootType]
		if err := json.Unmarshal(text, &file); err != nil {
			return nil, err
		}
		return cjson.EncodeCanonical(file.Signed)
	}
	var file metadata.Metadata[metadata.TargetsType]
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	return cjson.EncodeCanonical(file.Signed)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var question struct{ Kind, Text string }
		if err := json.Unmarshal(lines.Bytes(), &question); err != nil {
			panic(err)
		}
		if found, err := form(question.Kind, []byte(question.Text)); err != nil {
			fmt.Println("null")
		} else {
			fmt.Printf("%q\n", hex.EncodeToString(found))
		}
	}
}
