package daemon

import (
	"fmt"
	"strings"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// opText writes an operation for the log; keys are never in it.
func opText(op xfrm.Op) string { return protect.Text(op) }

// hostOpText writes an operation on the host for the log, without the octets of a message.
func hostOpText(op host.Op) string {
	if m, ok := op.(host.SendMH); ok {
		return fmt.Sprintf("send mobility header %v -> %v, %d octets", m.MH.Src, m.MH.Dst, len(m.MH.Data))
	}
	name := strings.TrimPrefix(fmt.Sprintf("%T", op), "host.")
	return name + strings.TrimPrefix(fmt.Sprintf("%+v", op), "{")
}
