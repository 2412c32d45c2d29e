module device

go 1.25.0

require github.com/theupdateframework/go-tuf/v2 v2.4.2
